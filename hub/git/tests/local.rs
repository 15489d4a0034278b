//! Sources on this machine: what is followed, what is found, what is said where nothing is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Mirror, Repo, fetch, git};
use hub_git::{FetchError, Fetched, ReadError, commit_info, is_descendant, read};

#[test]
fn child() {
    common::child();
}

fn changed(commit: &str) -> Fetched {
    Fetched { commit: commit.to_owned(), unchanged: false }
}

fn unchanged(commit: &str) -> Fetched {
    Fetched { commit: commit.to_owned(), unchanged: true }
}

#[tokio::test]
async fn a_branch_is_followed_from_commit_to_commit() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    let mirror = Mirror::main(&repo);
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&first)));
    assert_eq!(fetch(&mirror.source).await, Ok(unchanged(&first)));
    let second = repo.commit("a.yaml", "two");
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&second)));
    assert_eq!(fetch(&mirror.source).await, Ok(unchanged(&second)));

    let dir = &mirror.source.dir;
    for (commit, text) in [(&first, "one"), (&second, "two")] {
        let tree = read(dir, commit, "", |_, _| true).await.unwrap();
        assert_eq!(tree.snapshot.read("a.yaml").map(|b| b.to_vec()), Some(text.as_bytes().to_vec()));
    }
    let info = commit_info(dir, &second).await.unwrap();
    assert_eq!((info.author.as_str(), info.subject.as_str()), ("Ada", "write a.yaml"));
    assert!(info.time > 1_600_000_000);
}

#[tokio::test]
async fn an_unchanged_local_source_needs_no_process() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    let no_child = hub_git::Fetcher::new("/nonexistent", [""; 0]);
    assert_eq!(no_child.fetch(&mirror.source).await, Ok(unchanged(&head)));
    repo.commit("a.yaml", "two");
    assert!(matches!(no_child.fetch(&mirror.source).await, Err(FetchError::Child { .. })));
}

#[tokio::test]
async fn every_kind_of_ref_and_repository() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    repo.git(&["tag", "-a", "v1", "-m", "annotated"]);
    repo.git(&["tag", "light"]);
    let second = repo.commit("a.yaml", "two");
    repo.git(&["update-ref", "refs/other/x", &first]);
    repo.git(&["branch", "topic/x", &first]);
    let bare = tempfile::tempdir().unwrap();
    git(bare.path(), &["clone", "-q", "--mirror", repo.path().to_str().unwrap(), "b.git"]);
    let bare = bare.path().join("b.git");
    git(&bare, &["pack-refs", "--all"]);
    assert!(!bare.join("refs/heads/main").exists(), "refs are packed");

    let worktree = repo.path().to_str().unwrap();
    let urls =
        [worktree.to_owned(), format!("{worktree}/.git"), format!("file://{worktree}"), bare.display().to_string()];
    for url in &urls {
        for (reference, commit) in [
            ("main", &second),
            ("HEAD", &second),
            ("refs/heads/main", &second),
            ("topic/x", &first),
            ("v1", &first),
            ("light", &first),
            ("refs/other/x", &first),
            (first.as_str(), &first),
        ] {
            let mirror = Mirror::of(url, reference);
            assert_eq!(fetch(&mirror.source).await, Ok(changed(commit)), "{url} {reference}");
            assert_eq!(fetch(&mirror.source).await, Ok(unchanged(commit)), "{url} {reference}");
        }
    }
}

#[tokio::test]
async fn a_shallow_clone_is_followed() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let head = repo.commit("a.yaml", "two");
    let clone = tempfile::tempdir().unwrap();
    let url = format!("file://{}", repo.path().display());
    git(clone.path(), &["clone", "-q", "--depth", "1", &url, "."]);
    let mut mirror = Mirror::of(clone.path().to_str().unwrap(), "main");
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&head)));
    mirror.source.accepted = Some(head.clone());
    let next = repo.commit("a.yaml", "three");
    git(clone.path(), &["pull", "-q", "--no-rebase", "--ff-only"]);
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&next)));
    assert!(read(&mirror.source.dir, &next, "", |_, _| true).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let repo = Repo::new();
    let mirror = Mirror::main(&repo);
    let url = repo.path().display().to_string();
    assert_eq!(fetch(&mirror.source).await, Err(FetchError::Empty { url: url.clone() }));

    repo.commit("a.yaml", "one");
    let missing = Mirror::of(&url, "mian");
    let expected =
        FetchError::MissingRef { url: url.clone(), reference: "mian".to_owned(), found: vec!["main".to_owned()] };
    assert_eq!(fetch(&missing.source).await, Err(expected));
    let unknown = "0123456789012345678901234567890123456789";
    let error = fetch(&Mirror::of(&url, unknown).source).await.unwrap_err().to_string();
    assert!(error.contains(&url), "{error}");

    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("file"), "x").unwrap();
    for path in [empty.path().to_owned(), empty.path().join("file"), empty.path().join("absent")] {
        let error = fetch(&Mirror::of(path.to_str().unwrap(), "main").source).await.unwrap_err();
        assert!(matches!(error, FetchError::NotARepository { .. }), "{error}");
    }
    repo.git(&["tag", "blob", &repo.git(&["rev-parse", "HEAD:a.yaml"])]);
    let error = fetch(&Mirror::of(&url, "blob").source).await.unwrap_err().to_string();
    assert!(error.contains("no commit"), "{error}");
}

#[tokio::test]
async fn a_forced_push_is_no_descendant() {
    let repo = Repo::new();
    let base = repo.commit("a.yaml", "base");
    let old = repo.commit("a.yaml", "old");
    let mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    repo.git(&["reset", "-q", "--hard", &base]);
    let new = repo.commit("a.yaml", "new");
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&new)));

    let dir = &mirror.source.dir;
    assert_eq!(is_descendant(dir, &old, &new).await, Ok(false));
    assert_eq!(is_descendant(dir, &base, &new).await, Ok(true));
    assert_eq!(is_descendant(dir, &new, &new).await, Ok(true));
    assert_eq!(is_descendant(dir, &new, &base).await, Ok(false));
    let tree = read(dir, &old, "", |_, _| true).await.unwrap();
    assert_eq!(tree.snapshot.files.len(), 1, "what was accepted can still be read");

    repo.git(&["checkout", "-q", "--orphan", "other"]);
    let orphan = repo.commit("a.yaml", "orphan");
    repo.git(&["branch", "-f", "main", "other"]);
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&orphan)));
    assert_eq!(is_descendant(dir, &new, &orphan).await, Ok(false));
    let unknown = "0123456789012345678901234567890123456789";
    assert_eq!(is_descendant(dir, unknown, &orphan).await, Ok(false));
    assert!(matches!(is_descendant(dir, &orphan, unknown).await, Err(ReadError::NoCommit { .. })));
}

#[tokio::test]
async fn what_a_killed_child_left_is_put_right() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    for left in ["refs/drover/head.lock", "shallow.lock", "packed-refs.lock", "objects/pack/tmp_pack_x"] {
        fs::write(mirror.git_dir().join(left), "").unwrap();
    }
    let second = repo.commit("a.yaml", "two");
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&second)));
    assert!(!mirror.git_dir().join("shallow.lock").exists());
}

#[tokio::test]
async fn a_broken_mirror_is_made_anew() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let mirror = Mirror::main(&repo);
    fetch(&mirror.source).await.unwrap();
    fs::remove_file(mirror.git_dir().join("HEAD")).unwrap();
    let error = read(&mirror.source.dir, &head, "", |_, _| true).await.unwrap_err();
    assert!(matches!(error, ReadError::Mirror { .. }), "{error}");
    assert_eq!(fetch(&mirror.source).await, Ok(changed(&head)));
    assert!(read(&mirror.source.dir, &head, "", |_, _| true).await.is_ok());
}
