//! Servers and repositories that misbehave: each is a clear error at a stated limit, and what was
//! fetched before can still be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Answer, Fault, Mirror, Repo, fetch, fetcher, git, serve, still_reads};
use hub_core::snapshot::Mode;
use hub_git::{FetchError, ReadError, fill, is_descendant, read};
use proto_model::limits;

#[test]
fn child() {
    common::child();
}

/// A mirror of a good repository, whose server then goes bad.
struct Turned {
    repo: Repo,
    mirror: Mirror,
    good: String,
}

impl Turned {
    async fn new() -> Self {
        let repo = Repo::new();
        let good = repo.commit("a.yaml", "good");
        let answer = Answer::Git { root: repo.path().to_owned(), asks: None };
        let mut mirror = Mirror::of(&format!("http://{}/.git", serve(answer)), "main");
        assert_eq!(fetch(&mirror.source).await.unwrap().commit, good);
        mirror.source.accepted = Some(good.clone());
        repo.commit("a.yaml", &"bad ".repeat(50_000));
        Self { repo, mirror, good }
    }

    /// From now on another server answers.
    fn meets(&mut self, answer: Answer) {
        self.mirror.source.url = format!("http://{}/.git", serve(answer));
    }

    /// The same server, with a fault once it is asked for content.
    fn fails(&mut self, fault: Fault) {
        self.meets(Answer::Faulty { root: self.repo.path().to_owned(), fault });
    }

    /// The error, in which nothing of what was good is lost; and a good server mends it.
    async fn error(mut self, deadline: Duration) -> FetchError {
        let error = fetcher().deadline(deadline).fetch(&self.mirror.source).await.unwrap_err();
        assert!(error.to_string().contains(&self.mirror.source.url), "{error}");
        still_reads(&self.mirror, &self.good).await;
        self.meets(Answer::Git { root: self.repo.path().to_owned(), asks: None });
        assert_eq!(fetch(&self.mirror.source).await.unwrap().commit, self.repo.head());
        still_reads(&self.mirror, &self.repo.head()).await;
        error
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_git_server_that_hangs() {
    for fault in [None, Some(Fault::Hang)] {
        let mut turned = Turned::new().await;
        match fault {
            None => turned.meets(Answer::Hang),
            Some(fault) => turned.fails(fault),
        }
        let error = turned.error(Duration::from_secs(2)).await;
        assert!(matches!(error, FetchError::Deadline { secs: 2, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_git_server_that_answers_500() {
    let mut turned = Turned::new().await;
    turned.fails(Fault::Status500);
    let error = turned.error(LONG).await;
    assert!(matches!(error, FetchError::Unreachable { .. }) && error.to_string().contains("500"), "{error}");
}

#[tokio::test]
async fn a_git_server_that_closes_in_the_middle() {
    let mut turned = Turned::new().await;
    turned.fails(Fault::Close);
    let error = turned.error(LONG).await;
    assert!(matches!(error, FetchError::Failed { .. } | FetchError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_git_server_that_sends_a_corrupt_pack() {
    let mut turned = Turned::new().await;
    turned.fails(Fault::Corrupt);
    let error = turned.error(LONG).await;
    assert!(matches!(error, FetchError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn a_branch_that_vanishes() {
    let repo = Repo::new();
    let good = repo.commit("a.yaml", "good");
    repo.git(&["branch", "other"]);
    let mirror = Mirror::of(repo.path().to_str().unwrap(), "main");
    fetch(&mirror.source).await.unwrap();
    repo.git(&["checkout", "-q", "other"]);
    repo.git(&["branch", "-D", "main"]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::MissingRef { .. }) && error.to_string().contains("other"), "{error}");
    still_reads(&mirror, &good).await;
}

#[tokio::test]
async fn a_force_push_is_seen_as_one() {
    let mut turned = Turned::new().await;
    let Turned { repo, mirror, good } = &mut turned;
    repo.git(&["checkout", "-q", "--orphan", "again"]);
    let forced = repo.commit("a.yaml", "forced");
    repo.git(&["branch", "-f", "main", "again"]);
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, forced);
    assert_eq!(is_descendant(&mirror.source.dir, good, &forced).await, Ok(false));
    still_reads(mirror, good).await;
}

#[tokio::test]
async fn a_file_name_in_bad_utf8_is_no_path() {
    let repo = Repo::new();
    std::fs::write(repo.path().join(OsStr::from_bytes(b"\xfe\xff.yaml")), "x").unwrap();
    let head = repo.commit("a.yaml", "x");
    let mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    let tree = read(&mirror.source.dir, &head, "", |_, _| true).await.unwrap();
    let modes: Vec<Mode> = tree.snapshot.files.values().map(|file| file.mode).collect();
    assert_eq!(modes, [Mode::Unnamed, Mode::Regular], "{:?}", tree.snapshot.files.keys());
    assert!(tree.snapshot.files.keys().all(|path| path.is_ascii()));
}

/// A repository with so many small files, made without a work tree.
fn with_files(count: usize) -> Repo {
    let repo = Repo::new();
    let mut import = Command::new("git")
        .current_dir(repo.path())
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream =
        String::from("commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 1\nx\n");
    for n in 0..count {
        let text = format!("n: {n}");
        stream.push_str(&format!("M 644 inline apps/{}/{n}.yaml\ndata {}\n{text}\n", n / 500, text.len()));
    }
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    repo
}

#[tokio::test]
async fn a_repository_of_100_000_files_is_read() {
    let repo = with_files(100_000);
    let mirror = Mirror::main(&repo);
    let head = fetch(&mirror.source).await.unwrap().commit;
    let mut snapshot = read(&mirror.source.dir, &head, "", |_, _| false).await.unwrap().snapshot;
    assert_eq!(snapshot.files.len(), 100_000);
    fill(&mirror.source.dir, &mut snapshot, ["apps/199/99999.yaml"]).await.unwrap();
    assert_eq!(snapshot.read("apps/199/99999.yaml").map(|bytes| bytes.to_vec()), Some(b"n: 99999".to_vec()));
}

/// The limit is [`limits::FETCH_BYTES_MAX`]; here it is lower.
#[tokio::test]
async fn a_repository_that_is_larger_than_the_limit() {
    let mut turned = Turned::new().await;
    // What does not compress.
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ (n << 7)).to_le_bytes()).collect();
    std::fs::write(turned.repo.path().join("noise"), noise).unwrap();
    turned.repo.commit("b.yaml", "x");
    turned.fails(Fault::Slow);
    let limited = fetcher().bytes_max(100_000);
    let error = limited.fetch(&turned.mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { max: 100_000, .. }), "{error}");
    still_reads(&turned.mirror, &turned.good).await;
    let packs = std::fs::read_dir(turned.mirror.git_dir().join("objects/pack")).unwrap();
    let bytes: u64 = packs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 100_000, "what was fetched in vain is removed: {bytes} bytes");
    const { assert!(limits::FETCH_BYTES_MAX == 1 << 30) };
}

/// A repository whose `main` has a history of what does not compress, 200 KB a commit.
fn with_heavy_history(commits: u32) -> Repo {
    let repo = Repo::new();
    for n in 0..commits {
        let noise: Vec<u8> = (0..50_000_u32)
            .flat_map(|i| ((i + n * 50_000).wrapping_mul(2_654_435_761) ^ (i << 7)).to_le_bytes())
            .collect();
        std::fs::write(repo.path().join("noise"), noise).unwrap();
        repo.commit("a.yaml", &n.to_string());
    }
    repo
}

/// Where it costs too much to look for the old head, it stays unknown; the new one is there.
#[tokio::test]
async fn a_history_that_is_too_large_or_too_slow_leaves_the_new_head() {
    let repo = with_heavy_history(40);
    let unrelated = "0123456789012345678901234567890123456789".to_owned();
    let limited = fetcher().bytes_max(2_000_000);
    let answer = Answer::Git { root: repo.path().to_owned(), asks: None };
    let mut mirror = Mirror::of(&format!("http://{}/.git", serve(answer)), "main");
    mirror.source.accepted = Some(unrelated.clone());
    let head = limited.fetch(&mirror.source).await.unwrap();
    assert_eq!(head.commit, repo.head());
    let known = is_descendant(&mirror.source.dir, &unrelated, &head.commit).await;
    assert!(matches!(known, Err(ReadError::HistoryTooLong { .. })), "{known:?}");
    still_reads(&mirror, &head.commit).await;
    // It is not looked for again, which would cost as much each time.
    mirror.source.url =
        format!("http://{}/.git", serve(Answer::Faulty { root: repo.path().to_owned(), fault: Fault::Hang }));
    assert!(limited.fetch(&mirror.source).await.unwrap().unchanged);

    // It takes too long, with another mirror.
    let mut mirror = Mirror::main(&repo);
    let answer = Answer::Git { root: repo.path().to_owned(), asks: None };
    mirror.source.url = format!("http://{}/.git", serve(answer));
    let head = fetch(&mirror.source).await.unwrap().commit;
    mirror.source.accepted = Some(unrelated.clone());
    mirror.source.url =
        format!("http://{}/.git", serve(Answer::Faulty { root: repo.path().to_owned(), fault: Fault::Hang }));
    let fetched = fetcher().deadline(Duration::from_secs(3)).fetch(&mirror.source).await.unwrap();
    assert_eq!((fetched.commit, fetched.unchanged), (head, true));
}

/// A megabyte that becomes more than a process may hold.
#[tokio::test]
async fn a_file_that_unpacks_to_more_than_is_held() {
    let mut turned = Turned::new().await;
    let file = std::fs::File::create(turned.repo.path().join("zeros")).unwrap();
    file.set_len(limits::FETCH_OBJECT_BYTES_MAX as u64 + 1).unwrap();
    turned.repo.commit("b.yaml", "x");
    turned.meets(Answer::Git { root: turned.repo.path().to_owned(), asks: None });
    let error = fetch(&turned.mirror.source).await.unwrap_err();
    let max = limits::FETCH_OBJECT_BYTES_MAX as u64;
    assert_eq!(error, FetchError::TooMuchMemory { url: turned.mirror.source.url.clone(), max });
    still_reads(&turned.mirror, &turned.good).await;
}

/// However it came to need it.
#[tokio::test]
async fn a_fetch_that_needs_more_memory_than_it_may() {
    let mut turned = Turned::new().await;
    turned.fails(Fault::Slow);
    let error = fetcher().memory_bytes_max(1_000_000).fetch(&turned.mirror.source).await.unwrap_err();
    assert_eq!(error, FetchError::TooMuchMemory { url: turned.mirror.source.url.clone(), max: 1_000_000 });
    still_reads(&turned.mirror, &turned.good).await;
}

#[tokio::test]
async fn a_mirror_with_many_packs_is_made_anew_and_keeps_what_was_accepted() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    let mut mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    mirror.source.accepted = Some(first.clone());
    let packs = mirror.git_dir().join("objects/pack");
    let of = |end: &str| {
        let files = std::fs::read_dir(&packs).unwrap().map(|f| f.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == end)).collect::<Vec<_>>()
    };
    let (pack, index) = (of("pack").remove(0), of("idx").remove(0));
    for n in 0..=limits::MIRROR_PACKS_MAX {
        std::fs::copy(&pack, packs.join(format!("pack-{n:040x}.pack"))).unwrap();
        std::fs::copy(&index, packs.join(format!("pack-{n:040x}.idx"))).unwrap();
    }
    // Nobody but the old mirror still has the accepted head.
    repo.git(&["checkout", "-q", "--orphan", "other"]);
    let second = repo.commit("a.yaml", "two");
    repo.git(&["branch", "-f", "main", "other"]);
    repo.git(&["reflog", "expire", "--expire=all", "--all"]);
    repo.git(&["gc", "-q", "--prune=now"]);
    let fetched = fetch(&mirror.source).await.unwrap();
    assert_eq!((fetched.commit.as_str(), fetched.unchanged), (second.as_str(), false));
    assert!(of("pack").len() <= 2, "{:?}", of("pack"));
    still_reads(&mirror, &first).await;
    still_reads(&mirror, &second).await;
    assert_eq!(is_descendant(&mirror.source.dir, &first, &second).await, Ok(false));
    assert!(fetch(&mirror.source).await.unwrap().unchanged);
    assert_eq!(left(&mirror), ["mirror.git"]);
}

/// Repositories in a mirror's directory.
fn left(mirror: &Mirror) -> Vec<String> {
    let entries = std::fs::read_dir(&mirror.source.dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".git")).collect()
}

#[tokio::test]
async fn a_mirror_that_grew_is_made_anew_from_its_server() {
    let mut turned = Turned::new().await;
    let head = turned.repo.head();
    fetch(&turned.mirror.source).await.unwrap();
    assert!(git(&turned.mirror.git_dir(), &["rev-list", "--count", "refs/drover/head"]) != "0");
    let small = fetcher().mirror_bytes_max(1);
    let fetched = small.fetch(&turned.mirror.source).await.unwrap();
    assert_eq!((fetched.commit.as_str(), fetched.unchanged), (head.as_str(), true));
    still_reads(&turned.mirror, &turned.good).await;
    still_reads(&turned.mirror, &head).await;
    assert_eq!(is_descendant(&turned.mirror.source.dir, &turned.good, &head).await, Ok(true));

    // Where it cannot be made anew, the old one goes on.
    turned.fails(Fault::Status500);
    assert!(small.fetch(&turned.mirror.source).await.unwrap().unchanged);
    still_reads(&turned.mirror, &head).await;
    // One that was cut off between the two renames comes back.
    std::fs::rename(turned.mirror.git_dir(), turned.mirror.source.dir.join("old.git")).unwrap();
    assert!(fetch(&turned.mirror.source).await.unwrap().unchanged);
    assert_eq!(left(&turned.mirror), ["mirror.git"]);
}
