//! The local door: a socket in the spoke's directory through which people at the cluster ask and order,
//! with or without a hub. One question a connection: a line of JSON in, a line of JSON out.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto_model::limits;
use spoke_core::local::{Answer, Ask, Request, Told, VERSION};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Name of the socket in the directory.
pub const SOCKET: &str = "spoke.sock";

const PATIENCE: Duration = Duration::from_secs(limits::DOOR_SECS_MAX);

/// A question for the loop.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// Where the answer goes. Nobody may be there any more.
    pub(crate) answer: oneshot::Sender<Result<Told, String>>,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Puts a socket into the directory, in the place of one that was left there: the directory has one
    /// process at a time.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let (path, fresh) = (dir.join(SOCKET), dir.join(format!("{SOCKET}.new")));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        // Nobody else finds it before it is closed to them.
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &path)?;
        Ok(Self { listener, path })
    }

    /// Hands on what is asked, until it is dropped.
    pub(crate) async fn serve(self, asks: mpsc::Sender<Asked>) {
        let room = Arc::new(Semaphore::new(limits::DOOR_CONNECTIONS_MAX));
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let asks = asks.clone();
                    tokio::spawn(async move {
                        let _permit = permit;
                        match timeout(2 * PATIENCE, converse(stream, asks)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => debug!(%error, "a conversation at the local door ended early"),
                            Err(_) => debug!("a conversation at the local door took too long"),
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "the local door does not open");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // A socket that is left is replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, asks: mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let bytes_max = limits::DOOR_REQUEST_BYTES_MAX as u64;
    let mut read = tokio::io::BufReader::new(read.take(bytes_max + 1));
    timeout(PATIENCE, read.read_until(b'\n', &mut line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let told = match request(&line) {
        Ok(ask) => answer(ask, asks).await,
        Err(why) => Err(why),
    };
    write.write_all(&encode(told)).await?;
    write.shutdown().await
}

/// Reads a question.
fn request(line: &[u8]) -> Result<Ask, String> {
    if line.len() > limits::DOOR_REQUEST_BYTES_MAX {
        return Err(format!("the question is longer than {} bytes", limits::DOOR_REQUEST_BYTES_MAX));
    }
    #[derive(serde::Deserialize)]
    struct Format {
        version: u32,
    }
    let format: Format =
        serde_json::from_slice(line).map_err(|_| "the question is no line of JSON with a version".to_owned())?;
    if format.version != VERSION {
        return Err(format!(
            "the question is of version {}, and the spoke that runs here speaks version {VERSION}: ask with its own \
             program, {}",
            format.version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let request: Request = serde_json::from_slice(line).map_err(|error| format!("the question: {error}"))?;
    Ok(request.ask)
}

async fn answer(ask: Ask, asks: mpsc::Sender<Asked>) -> Result<Told, String> {
    let is_order = matches!(ask, Ask::Suspend { .. } | Ask::Resume { .. });
    let (sender, receiver) = oneshot::channel();
    let ended = || "the spoke ends".to_owned();
    let wait = async {
        asks.send(Asked { ask, answer: sender }).await.map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())?
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| {
        let secs = limits::DOOR_SECS_MAX;
        Err(if is_order {
            format!(
                "it is in force in the spoke that runs, but could not be written to the ledger within {secs} s, and \
                 would not outlive a restart; it is being tried again: see `drover-spoke status`"
            )
        } else {
            format!("the spoke gave no answer within {secs} s; it may be starting: ask again, and see its log")
        })
    })
}

fn encode(told: Result<Told, String>) -> Vec<u8> {
    let encoded = |told| {
        let mut bytes = serde_json::to_vec(&Answer { version: VERSION, told }).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    };
    let bytes = encoded(told);
    if bytes.len() > limits::DOOR_ANSWER_BYTES_MAX {
        return encoded(Err("the answer is too long; ask about one bundle".into()));
    }
    bytes
}

/// Why a running spoke gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Nobody listens there.
    #[error(
        "no drover-spoke runs with the directory {dir} ({dir}/{SOCKET}: {why}): name the directory of the one that \
         runs with --dir or DROVER_DIR; where none runs, start it and see its log for why it ended"
    )]
    Nobody {
        /// The directory.
        dir: String,
        /// Why.
        why: io::Error,
    },
    /// The connection broke, or took too long.
    #[error("the drover-spoke in {dir} gave no answer: {why}; ask again, and see its log")]
    Broken {
        /// The directory.
        dir: String,
        /// Why.
        why: io::Error,
    },
    /// The answer does not read.
    #[error("the drover-spoke that runs in {dir} is of another version: ask with its own program ({why})")]
    Version {
        /// The directory.
        dir: String,
        /// What does not read.
        why: String,
    },
    /// It was refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks the spoke that runs with this directory. Blocks, for a bounded time.
///
/// # Errors
/// No spoke runs there, it gave no answer, or it refused.
pub fn ask(dir: &Path, ask: Ask) -> Result<Told, DoorError> {
    let shown = || dir.display().to_string();
    let stream = Blocking::connect(dir.join(SOCKET)).map_err(|why| DoorError::Nobody { dir: shown(), why })?;
    let line = exchange(stream, ask).map_err(|why| DoorError::Broken { dir: shown(), why })?;
    let answer: Answer =
        serde_json::from_str(&line).map_err(|error| DoorError::Version { dir: shown(), why: error.to_string() })?;
    answer.told.map_err(DoorError::Refused)
}

fn exchange(mut stream: Blocking, ask: Ask) -> io::Result<String> {
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&Request { version: VERSION, ask })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    let bytes_max = limits::DOOR_ANSWER_BYTES_MAX as u64 + 1;
    BufReader::new(stream.take(bytes_max)).read_line(&mut answer)?;
    if answer.ends_with('\n') { Ok(answer) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_question_is_held_to_its_form() {
        let refused = |line: &str| request(line.as_bytes()).unwrap_err();
        assert_eq!(request(b"{\"version\":1,\"ask\":\"status\"}\n").unwrap(), Ask::Status);
        assert!(refused("{\"version\":2,\"ask\":{\"dance\":1}}").contains("of version 2"));
        assert!(refused("{\"version\":1,\"ask\":\"dance\"}").contains("unknown variant"));
        assert!(refused("GET / HTTP/1.1\r\n").contains("no line of JSON"));
        assert!(refused("").contains("no line of JSON"));
        assert!(refused(&"x".repeat(limits::DOOR_REQUEST_BYTES_MAX + 1)).contains("longer than"));
    }

    #[test]
    fn where_nobody_listens_it_says_where_it_looked_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(dir.path(), Ask::Status).unwrap_err().to_string();
        assert!(error.contains("spoke.sock: No such file") && error.contains("--dir or DROVER_DIR"), "{error}");
        // What a process that was killed leaves behind.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        let error = ask(dir.path(), Ask::Status).unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn it_is_its_owner_s_alone_and_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{SOCKET}.new")), "left").unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        let door = Door::open(dir.path()).unwrap();
        let path = dir.path().join(SOCKET);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_at_the_door_wait_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut asks) = mpsc::channel(1);
        let door = tokio::spawn(Door::open(dir.path()).unwrap().serve(sender));
        // Connections that say nothing take all the room there is; then they go.
        let silent: Vec<Blocking> = (0..limits::DOOR_CONNECTIONS_MAX + 2)
            .map(|_| Blocking::connect(dir.path().join(SOCKET)).unwrap())
            .collect();
        let path = dir.path().to_owned();
        let asking = tokio::task::spawn_blocking(move || ask(&path, Ask::Resume { bundle: None }));
        drop(silent);
        let Asked { ask: asked, answer } = asks.recv().await.unwrap();
        assert_eq!(asked, Ask::Resume { bundle: None });
        answer.send(Ok(Told::Suspended(Vec::new()))).unwrap();
        assert_eq!(asking.await.unwrap().unwrap(), Told::Suspended(Vec::new()));
        door.abort();
    }
}
