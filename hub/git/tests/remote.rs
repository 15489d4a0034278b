//! Sources on servers: credentials, history, and servers that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Answer, CHILD, Mirror, Repo, child_args, fetch, fetcher, serve};
use hub_git::{FetchError, is_descendant, read};

/// `x-access-token:s3cret` and `me:s3cret`.
const TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";
const USER: &str = "Basic bWU6czNjcmV0";

#[test]
fn child() {
    common::child();
}

fn git(repo: &Repo, asks: Option<&'static str>) -> Answer {
    Answer::Git { root: repo.path().to_owned(), asks }
}

fn over_http(answer: Answer) -> Mirror {
    Mirror::of(&format!("http://{}/.git", serve(answer)), "main")
}

#[tokio::test]
async fn a_branch_is_followed_over_http() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    let mirror = over_http(git(&repo, None));
    let fetched = fetch(&mirror.source).await.unwrap();
    assert_eq!((fetched.commit, fetched.unchanged), (first.clone(), false));
    assert!(fetch(&mirror.source).await.unwrap().unchanged);
    let second = repo.commit("a.yaml", "two");
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, second);
    let tree = read(&mirror.source.dir, &second, "", |_, _| true).await.unwrap();
    assert_eq!(tree.snapshot.read("a.yaml").map(|b| b.to_vec()), Some(b"two".to_vec()));
    assert_eq!(is_descendant(&mirror.source.dir, &first, &second).await, Ok(true));

    let mut by_id = Mirror::of(&mirror.source.url, &first);
    assert_eq!(fetch(&by_id.source).await.unwrap().commit, first);
    by_id.source.reference = "absent".to_owned();
    let error = fetch(&by_id.source).await.unwrap_err().to_string();
    assert!(error.ends_with("there are main"), "{error}");
    let nowhere = Mirror::of(&mirror.source.url.replace(".git", "absent"), "main");
    assert!(matches!(fetch(&nowhere.source).await, Err(FetchError::NotARepository { .. })));
}

#[tokio::test]
async fn a_token_is_needed_and_never_shown() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    for (asks, good, bad) in [(TOKEN, "s3cret\n", "wr0ng"), (USER, "me:s3cret", "you:s3cret")] {
        let mut mirror = over_http(git(&repo, Some(asks)));
        let none = fetch(&mirror.source).await.unwrap_err();
        assert!(matches!(none, FetchError::Refused { .. }) && none.to_string().contains("give a token"), "{none}");
        mirror.credentials(bad);
        let wrong = fetch(&mirror.source).await.unwrap_err();
        assert!(matches!(wrong, FetchError::Refused { .. }), "{wrong}");
        assert!(!wrong.to_string().contains("wr0ng") && !wrong.to_string().contains("s3cret"), "{wrong}");
        mirror.credentials(good);
        assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);
    }
}

#[tokio::test]
async fn history_is_fetched_only_as_far_as_it_is_needed() {
    let repo = Repo::new();
    let mut commits = Vec::new();
    for n in 0..130 {
        commits.push(repo.commit("a.yaml", &n.to_string()));
    }
    let answer = git(&repo, None);
    let mut mirror = over_http(answer.clone());
    let head = fetch(&mirror.source).await.unwrap().commit;
    assert!(mirror.git_dir().join("shallow").exists(), "the first fetch is shallow");
    assert_eq!(count(&mirror), 1);
    let unknown = is_descendant(&mirror.source.dir, &commits[100], &head).await;
    assert!(unknown.is_err(), "{unknown:?}");

    mirror.source.accepted = Some(commits[100].clone());
    assert!(fetch(&mirror.source).await.unwrap().unchanged);
    assert_eq!(is_descendant(&mirror.source.dir, &commits[100], &head).await, Ok(true));
    assert!(count(&mirror) < 130, "{} commits", count(&mirror));

    mirror.source.accepted = Some(commits[0].clone());
    fetch(&mirror.source).await.unwrap();
    assert_eq!(is_descendant(&mirror.source.dir, &commits[0], &head).await, Ok(true));

    repo.git(&["reset", "-q", "--hard", &commits[90]]);
    let rewound = repo.commit("a.yaml", "rewound");
    let mut fresh = over_http(answer);
    fresh.source.accepted = Some(head.clone());
    assert_eq!(fetch(&fresh.source).await.unwrap().commit, rewound);
    assert_eq!(is_descendant(&fresh.source.dir, &head, &rewound).await, Ok(false));
    let kept = read(&fresh.source.dir, &head, "", |_, _| true).await;
    assert!(kept.is_ok(), "what was accepted is brought as well");
    fresh.source.accepted = Some("0123456789012345678901234567890123456789".to_owned());
    assert_eq!(fetch(&fresh.source).await.unwrap().commit, rewound);
    mirror.source.accepted = Some(head.clone());
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, rewound);
    assert_eq!(is_descendant(&mirror.source.dir, &head, &rewound).await, Ok(false));
}

/// A server that never had the old head, or forgot it, has nothing in common with the mirror: it
/// would send all that it has.
#[tokio::test]
async fn a_forced_push_of_one_commit_brings_no_whole_history() {
    let repo = Repo::new();
    // More than the steps back before it is clear that the old head is in none of them.
    for n in 0..200 {
        repo.commit("a.yaml", &n.to_string());
    }
    let mut mirror = over_http(git(&repo, None));
    let old = fetch(&mirror.source).await.unwrap().commit;
    for text in ["amended", "once more"] {
        repo.write("a.yaml", text);
        repo.git(&["commit", "-q", "-a", "--amend", "-m", "amended"]);
        repo.git(&["reflog", "expire", "--expire=all", "--all"]);
        repo.git(&["gc", "-q", "--prune=now"]);
        assert_eq!(fetch(&mirror.source).await.unwrap().commit, repo.head());
        assert!(count(&mirror) < 10, "{} commits", count(&mirror));
    }
    // As far as it takes to know.
    mirror.source.accepted = Some(old.clone());
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, repo.head());
    assert_eq!(is_descendant(&mirror.source.dir, &old, &repo.head()).await, Ok(false));
}

/// What a merge or a few commits at once bring is seen without a further question.
#[tokio::test]
async fn a_push_is_fetched_at_once() {
    let repo = Repo::new();
    for n in 0..20 {
        repo.commit("a.yaml", &n.to_string());
    }
    let mut mirror = over_http(git(&repo, None));
    for n in 0..3 {
        let old = fetch(&mirror.source).await.unwrap().commit;
        mirror.source.accepted = Some(old.clone());
        repo.git(&["checkout", "-q", "-B", "topic"]);
        repo.commit("b.yaml", &n.to_string());
        repo.git(&["checkout", "-q", "main"]);
        repo.git(&["merge", "-q", "--no-ff", "--no-edit", "topic"]);
        assert_eq!(fetch(&mirror.source).await.unwrap().commit, repo.head());
        assert_eq!(is_descendant(&mirror.source.dir, &old, &repo.head()).await, Ok(true));
        assert!(count(&mirror) < 12, "{} commits", count(&mirror));
    }
}

/// Commits that a mirror holds.
fn count(mirror: &Mirror) -> usize {
    common::git(&mirror.git_dir(), &["rev-list", "--count", "refs/drover/head"]).parse().unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_meets_the_deadline_and_leaves_nothing() {
    let mirror = over_http(Answer::Hang);
    let start = Instant::now();
    let error = fetcher().deadline(Duration::from_millis(700)).fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Deadline { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));

    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let mut mirror = mirror;
    mirror.source.url = over_http(git(&repo, None)).source.url;
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);
}

#[tokio::test]
async fn nonsense_is_a_clean_error() {
    let answers: [&[u8]; 7] = [
        b"",
        b"\x00\xff\xfe garbage",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>hello</html>",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\nzzzz",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n001e# service=git-upload-pack\n0000000eversion 2\nffffx",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 900\r\nConnection: close\r\n\r\n001e# service=git-upload-pack\n0000",
    ];
    for answer in answers {
        let mirror = over_http(Answer::Bytes(answer));
        let error = fetcher().deadline(Duration::from_secs(60)).fetch(&mirror.source).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&mirror.source.url), "{text}");
        assert!(!matches!(error, FetchError::Deadline { .. } | FetchError::Refused { .. }), "{text}");
    }
    // Nobody listens on the port of a listener that was closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(&Mirror::of(&format!("http://{closed}/x"), "main").source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_child_that_dies_is_told() {
    let mirror = over_http(Answer::Hang);
    let dies = hub_git::Fetcher::new("/bin/sh", ["-c", "echo broken >&2; exit 7"]);
    let error = dies.fetch(&mirror.source).await.unwrap_err().to_string();
    assert!(error.contains("broken") && error.contains('7'), "{error}");
}

#[test]
fn the_child_ends_with_its_parent() {
    let mirror = over_http(Answer::Hang);
    std::fs::create_dir_all(&mirror.source.dir).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(child_args())
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let request = format!(
        r#"{{"source":{{"url":"{}","reference":"main","dir":"{}","credentials":null,"signers":null,"accepted":null}},"limits":{{"fetch_bytes_max":1000,"memory_bytes_max":1000000000,"deadline_millis":60000,"mirror_bytes_max":1000,"mirror_packs_max":1}},"private":null}}"#,
        mirror.source.url,
        mirror.source.dir.display()
    );
    writeln!(stdin, "{request}").unwrap();
    // As the kernel does when the parent is killed.
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
