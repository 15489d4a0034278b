//! Repositories made with the git program, and a server of them in a few lines of CGI.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test uses its part, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use hub_git::{FetchError, Fetched, Fetcher, Source};
use tempfile::TempDir;

/// Set for a process of this program that is to be the child.
pub(crate) const CHILD: &str = "HUB_GIT_CHILD";

/// What the test `child` of each test program does.
pub(crate) fn child() {
    if std::env::var_os(CHILD).is_some() {
        let _ = hub_git::child_run();
    }
}

pub(crate) fn child_args() -> [&'static str; 3] {
    ["--exact", "child", "--nocapture"]
}

pub(crate) fn fetcher() -> Fetcher {
    Fetcher::new(std::env::current_exe().unwrap(), child_args()).env(CHILD, "1")
}

pub(crate) async fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    fetcher().fetch(source).await
}

/// A repository with a work tree.
pub(crate) struct Repo {
    pub(crate) dir: TempDir,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        repo.git(&["init", "-q", "-b", "main", "."]);
        repo
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(self.path(), args)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits a file and gives the commit's id.
    pub(crate) fn commit(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", &format!("write {path}\n\nmore words")]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A mirror's directory and the source that uses it.
pub(crate) struct Mirror {
    pub(crate) dir: TempDir,
    pub(crate) source: Source,
}

impl Mirror {
    pub(crate) fn of(url: &str, reference: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source {
            url: url.to_owned(),
            reference: reference.to_owned(),
            dir: dir.path().join("source"),
            credentials: None,
            signers: None,
            accepted: None,
        };
        Self { dir, source }
    }

    /// Follows the branch `main` of a repository of this machine.
    pub(crate) fn main(repo: &Repo) -> Self {
        Self::of(repo.path().to_str().unwrap(), "main")
    }

    pub(crate) fn credentials(&mut self, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join("token");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.source.credentials = Some(path);
    }

    /// Uses a folder of credentials with these files, readable by their owner alone.
    pub(crate) fn folder(&mut self, files: &[(&str, &str)]) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.dir.path().join("credentials");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        self.source.credentials = Some(folder);
    }

    pub(crate) fn git_dir(&self) -> PathBuf {
        self.source.dir.join("mirror.git")
    }
}

/// What was fetched before can still be read, whatever came after.
pub(crate) async fn still_reads(mirror: &Mirror, commit: &str) {
    let tree = hub_git::read(&mirror.source.dir, commit, "", |_, _| true).await.unwrap();
    assert!(tree.snapshot.files.values().all(|file| file.bytes.is_some()));
}

/// How a server answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// As Git does, to those who send this `Authorization` where it asks for one.
    Git { root: PathBuf, asks: Option<&'static str> },
    /// As Git does, until it is asked for content.
    Faulty { root: PathBuf, fault: Fault },
    /// Never.
    Hang,
    /// The same bytes, whatever was asked.
    Bytes(&'static [u8]),
    /// That what was asked for lies below another URL.
    Elsewhere(String),
    /// That somebody must log in; and it notes the logins that it is shown, empty where there was none.
    Nosy(Arc<Mutex<Vec<String>>>),
}

/// What goes wrong when content is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Hang,
    Status500,
    /// The connection ends half-way.
    Close,
    /// Bytes are not those that were sent.
    Corrupt,
    /// All is well, but the end takes its time.
    Slow,
}

impl Fault {
    fn respond(self, stream: &mut dyn Stream, mut response: Vec<u8>) -> Vec<u8> {
        let middle = response.len() / 2;
        match self {
            Self::Hang => loop {
                thread::park();
            },
            Self::Status500 => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            Self::Close => response[..middle].to_vec(),
            Self::Corrupt => {
                for byte in &mut response[middle..middle + 100] {
                    *byte ^= 0x55;
                }
                response
            }
            Self::Slow => {
                let end = response.split_off(response.len() - 100);
                let _ = stream.write_all(&response);
                let _ = stream.flush();
                thread::sleep(std::time::Duration::from_secs(5));
                end
            }
        }
    }
}

/// A server on a port that the system chose; its threads end with the test program.
pub(crate) fn serve(answer: Answer) -> SocketAddr {
    serve_over(answer, |stream| Some(Box::new(stream)))
}

pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(crate) fn serve_over(
    answer: Answer,
    over: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let over = Arc::new(over);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, over) = (answer.clone(), Arc::clone(&over));
            thread::spawn(move || {
                if let Some(mut stream) = over(stream.unwrap()) {
                    respond(&mut *stream, &answer);
                }
            });
        }
    });
    address
}

const ASKS: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn respond(stream: &mut dyn Stream, answer: &Answer) {
    let Some(request) = Request::read(stream) else { return };
    let response = match answer {
        Answer::Hang => loop {
            thread::park();
        },
        Answer::Bytes(bytes) => bytes.to_vec(),
        Answer::Elsewhere(base) => {
            // What a query says may be a login.
            let to = format!("{base}{}?{}&signature=s3cret", request.path, request.query);
            format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .into_bytes()
        }
        Answer::Nosy(logins) => {
            logins.lock().unwrap().push(request.headers.get("authorization").cloned().unwrap_or_default());
            ASKS.to_vec()
        }
        Answer::Faulty { root, fault } => {
            let response = request.run_backend(root);
            let asks = request.body.windows(13).any(|part| part == b"command=fetch");
            if asks { fault.respond(stream, response) } else { response }
        }
        Answer::Git { root, asks } => {
            let sent = request.headers.get("authorization").map(String::as_str);
            match asks {
                Some(asks) if sent != Some(asks) => ASKS.to_vec(),
                _ => request.run_backend(root),
            }
        }
    };
    let _ = stream.write_all(&response);
    let _ = stream.flush();
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut dyn Stream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut body = Vec::new();
        if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).ok()?;
                let size = u64::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = Vec::new();
                reader.by_ref().take(size + 2).read_to_end(&mut chunk).ok()?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..chunk.len() - 2]);
            }
        } else if let Some(length) = headers.get("content-length") {
            reader.by_ref().take(length.parse().ok()?).read_to_end(&mut body).ok()?;
        }
        Some(Self { method, path: path.to_owned(), query: query.to_owned(), headers, body })
    }

    fn run_backend(&self, root: &Path) -> Vec<u8> {
        let header = |name: &str| self.headers.get(name).cloned().unwrap_or_default();
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &self.method)
            .env("PATH_INFO", &self.path)
            .env("QUERY_STRING", &self.query)
            .env("CONTENT_TYPE", header("content-type"))
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let body = self.body.clone();
        let writer = thread::spawn(move || drop(stdin.write_all(&body)));
        let output = child.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("CGI headers");
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
        let body = &output[end + 4..];
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n\r\n");
        let mut response = head.into_bytes();
        response.extend_from_slice(body);
        response
    }
}
