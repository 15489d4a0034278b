//! A commit's tree as a value.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use common::{Mirror, Repo, fetch, git};
use hub_core::snapshot::Mode;
use hub_git::{ReadError, fill, read, resolve, sizes};
use proto_model::limits;

#[test]
fn child() {
    common::child();
}

/// Fetches the head of a repository.
async fn fetched(repo: &Repo) -> (Mirror, String) {
    let mirror = Mirror::main(repo);
    let commit = fetch(&mirror.source).await.unwrap().commit;
    (mirror, commit)
}

#[tokio::test]
async fn paths_modes_ids_and_wanted_bytes() {
    let repo = Repo::new();
    repo.write("apps/web/a.yaml", "a: 1\n");
    repo.write("apps/web/run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(repo.path().join("apps/web/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a.yaml", repo.path().join("apps/web/link")).unwrap();
    repo.write("other/b.yaml", "b: 1\n");
    let commit = repo.commit("drover.yaml", "kind: Bundle\n");
    let (mirror, head) = fetched(&repo).await;
    assert_eq!(head, commit);

    let tree = read(&mirror.source.dir, &head, "", |path, _| path.ends_with(".yaml")).await.unwrap();
    let files = &tree.snapshot.files;
    assert_eq!(tree.snapshot.commit, commit);
    assert!(tree.defects.is_empty());
    let found: Vec<_> = files.iter().map(|(p, f)| (p.as_str(), f.mode, f.bytes.is_some())).collect();
    let expected = [
        ("apps/web/a.yaml", Mode::Regular, true),
        ("apps/web/link", Mode::Symlink, false),
        ("apps/web/run.sh", Mode::Executable, false),
        ("drover.yaml", Mode::Regular, true),
        ("other/b.yaml", Mode::Regular, true),
    ];
    assert_eq!(found, expected);
    assert_eq!(files["other/b.yaml"].id, repo.git(&["rev-parse", "HEAD:other/b.yaml"]));

    for path in ["apps/web", "/apps/web/", "./apps/./web"] {
        let tree = read(&mirror.source.dir, &head, path, |_, file| file.mode == Mode::Symlink).await.unwrap();
        assert_eq!(tree.snapshot.files.keys().collect::<Vec<_>>(), ["a.yaml", "link", "run.sh"]);
        assert_eq!(tree.snapshot.read("link").map(|b| b.to_vec()), Some(b"a.yaml".to_vec()));
    }
    for path in ["absent", "drover.yaml", "apps/../other"] {
        let error = read(&mirror.source.dir, &head, path, |_, _| true).await.unwrap_err();
        assert!(matches!(error, ReadError::NoFolder { .. }), "{error}");
    }
    let absent = "0123456789012345678901234567890123456789";
    for commit in [absent, "main", ""] {
        let error = read(&mirror.source.dir, commit, "", |_, _| true).await.unwrap_err();
        assert!(matches!(error, ReadError::NoCommit { .. }), "{error}");
    }
}

#[tokio::test]
async fn submodules_have_a_line() {
    let repo = Repo::new();
    let head = repo.commit("fleet/a.yaml", "a: 1\n");
    let entry = format!("160000,{head},fleet/vendor");
    repo.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repo.write(".gitmodules", "[submodule \"vendor\"]\n\tpath = fleet/vendor\n\turl = https://h/vendor\n");
    repo.git(&["add", ".gitmodules"]);
    repo.git(&["commit", "-q", "-m", "a submodule"]);
    let (mirror, head) = fetched(&repo).await;
    for (path, file, name) in [("", ".gitmodules", "fleet/vendor"), ("fleet", "../.gitmodules", "vendor")] {
        let found = read(&mirror.source.dir, &head, path, |_, _| false).await.unwrap().snapshot;
        assert_eq!(found.files[name].mode, Mode::Submodule);
        assert_eq!(found.modules.file, file);
        assert_eq!(found.modules.lines, [(name.to_owned(), 2)].into());
    }
}

#[tokio::test]
async fn a_snapshot_is_filled_without_another_walk() {
    let repo = Repo::new();
    repo.write("a.yaml", "a");
    repo.write("large.yaml", &"x".repeat(limits::FILE_BYTES_MAX + 1));
    symlink("a.yaml", repo.path().join("link")).unwrap();
    repo.commit("b/b.yaml", "b");
    let (mirror, head) = fetched(&repo).await;
    let dir = &mirror.source.dir;
    let mut snapshot = read(dir, &head, "", |path, _| path == "a.yaml").await.unwrap().snapshot;
    assert!(snapshot.read("b/b.yaml").is_none());

    let defects = fill(dir, &mut snapshot, ["b/b.yaml", "a.yaml", "link", "absent", "large.yaml"]).await.unwrap();
    assert_eq!(defects.len(), 1, "{defects:?}");
    assert_eq!(defects[0].file, "large.yaml");
    assert_eq!(snapshot, read(dir, &head, "", |_, _| true).await.unwrap().snapshot);

    snapshot.files.get_mut("a.yaml").unwrap().bytes = None;
    snapshot.files.get_mut("b/b.yaml").unwrap().bytes = None;
    snapshot.files.get_mut("b/b.yaml").unwrap().id = "0123456789012345678901234567890123456789".to_owned();
    let before = snapshot.clone();
    let error = fill(dir, &mut snapshot, ["a.yaml", "b/b.yaml"]).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert_eq!(snapshot, before);
}

#[tokio::test]
async fn a_repository_of_this_machine_is_read_where_it_lies() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    repo.git(&["tag", "-a", "v1", "-m", "annotated"]);
    let second = repo.commit("a.yaml", "two");
    repo.git(&["update-ref", "refs/remotes/origin/main", &first]);
    repo.git(&["tag", "blob", &repo.git(&["rev-parse", "HEAD:a.yaml"])]);
    repo.git(&["worktree", "add", "-q", "tree", "-b", "topic"]);
    let bare = tempfile::tempdir().unwrap();
    git(bare.path(), &["clone", "-q", "--mirror", repo.path().to_str().unwrap(), "."]);
    let dirs = [repo.path().to_owned(), repo.path().join(".git"), repo.path().join("tree"), bare.path().to_owned()];
    for dir in dirs {
        for (reference, commit) in [
            ("main", &second),
            ("HEAD", &second),
            ("HEAD~1", &first),
            ("origin/main", &first),
            ("v1", &first),
            (&first[..12], &first),
            (first.as_str(), &first),
        ] {
            assert_eq!(resolve(&dir, reference).await.as_ref(), Ok(commit), "{} {reference}", dir.display());
        }
        for reference in ["absent", "blob", "", "-x", "main^{tree}"] {
            let error = resolve(&dir, reference).await.unwrap_err();
            assert!(matches!(error, ReadError::NoRef { .. }), "{error}");
        }
        let tree = read(&dir, &first, "", |_, _| true).await.unwrap();
        assert_eq!(tree.snapshot.read("a.yaml").map(|b| b.to_vec()), Some(b"one".to_vec()));
    }
    let error = resolve(&repo.path().join("absent"), "main").await.unwrap_err();
    assert!(matches!(error, ReadError::Mirror { .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_a_defect_and_the_rest_is_read() {
    let repo = Repo::new();
    repo.write("large.yaml", &"x".repeat(limits::FILE_BYTES_MAX + 1));
    repo.write("just.yaml", &"x".repeat(limits::FILE_BYTES_MAX));
    std::fs::write(repo.path().join(OsStr::from_bytes(b"bad-\xff.yaml")), "x").unwrap();
    let long = ["d".repeat(200), "d".repeat(200), "d".repeat(200), "d".repeat(200), "d".repeat(200), "d".repeat(200)];
    repo.commit(&long.join("/"), "x");
    let (mirror, head) = fetched(&repo).await;
    let tree = read(&mirror.source.dir, &head, "", |_, _| true).await.unwrap();
    let said: Vec<_> = tree.defects.iter().map(|d| format!("{}: {}", d.file, d.message)).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    let large = format!("large.yaml: the file has {} bytes", limits::FILE_BYTES_MAX + 1);
    assert!(said[0].starts_with(&large), "{said:?}");
    // A bundle that has one of these below its path must know.
    let (unnamed, named): (Vec<_>, Vec<_>) = tree.snapshot.files.iter().partition(|(_, f)| f.mode == Mode::Unnamed);
    let unnamed: Vec<_> = unnamed.into_iter().map(|(path, _)| path).collect();
    assert_eq!(unnamed.len(), 2, "{unnamed:?}");
    assert!(unnamed[0].starts_with("bad-") && unnamed[1].starts_with("ddd"), "{unnamed:?}");
    assert_eq!(named.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), ["just.yaml", "large.yaml"]);
    assert!(tree.snapshot.read("large.yaml").is_none() && tree.snapshot.read("just.yaml").is_some());
}

/// A tree that holds one tree many times, level upon level: few objects, endless paths.
#[tokio::test]
async fn a_tree_that_multiplies_itself_meets_the_limit() {
    for leaf in [true, false] {
        let repo = Repo::new();
        repo.commit("a.yaml", "x");
        let blob = repo.git(&["rev-parse", "main:a.yaml"]);
        let empty = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        repo.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
        let mut id = if leaf { blob } else { empty.to_owned() };
        let mut kind = if leaf { "100644 blob" } else { "040000 tree" };
        for _ in 0..8 {
            let listing: String = (0..10).map(|n| format!("{kind} {id}\t{n}\n")).collect();
            std::fs::write(repo.path().join(".git/listing"), listing).unwrap();
            let script = "git mktree < .git/listing";
            let output =
                std::process::Command::new("sh").current_dir(repo.path()).args(["-c", script]).output().unwrap();
            id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
            kind = "040000 tree";
        }
        let commit = repo.git(&["commit-tree", "-m", "bomb", &id]);
        repo.git(&["update-ref", "refs/heads/main", &commit]);
        let (mirror, head) = fetched(&repo).await;
        let error = read(&mirror.source.dir, &head, "", |_, _| false).await.unwrap_err();
        assert!(matches!(error, ReadError::TooManyPaths { .. }), "{error}");
    }
}

/// One object under many paths: a few kilobytes in Git, and gigabytes in memory.
#[tokio::test]
async fn declarations_meet_a_limit_together_and_equal_ones_are_read_once() {
    let repo = Repo::new();
    repo.write("0/drover.yaml", &" ".repeat(limits::DECLARATION_BYTES_MAX + 1));
    for n in 100..200 {
        repo.write(&format!("{n}/drover.yaml"), &" ".repeat(limits::DECLARATION_BYTES_MAX));
    }
    repo.commit("small/drover.yaml", "");
    let (mirror, head) = fetched(&repo).await;
    let tree = read(&mirror.source.dir, &head, "", |_, _| true).await.unwrap();
    let files = &tree.snapshot.files;
    assert!(tree.snapshot.read("0/drover.yaml").is_none());
    assert!(tree.snapshot.read("small/drover.yaml").is_some(), "what has room is read");
    let held: Vec<_> = (100..200).filter_map(|n| files[&format!("{n}/drover.yaml")].bytes.as_ref()).collect();
    assert_eq!(held.len(), limits::DECLARATIONS_BYTES_MAX / limits::DECLARATION_BYTES_MAX);
    assert!(held.iter().all(|bytes| Arc::ptr_eq(bytes, held[0])));

    let mut filled = read(&mirror.source.dir, &head, "", |_, _| false).await.unwrap().snapshot;
    let paths = ["100/drover.yaml", "101/drover.yaml", "absent"];
    let known = sizes(&mirror.source.dir, &filled, paths).await.unwrap();
    assert_eq!(known.values().collect::<Vec<_>>(), [&(limits::DECLARATION_BYTES_MAX as u64); 2]);
    assert!(filled.files.values().all(|file| file.bytes.is_none()), "sizes are known without reading");
    fill(&mirror.source.dir, &mut filled, paths).await.unwrap();
    let [one, other, _] = paths.map(|path| filled.read(path));
    assert!(one.is_some() && Arc::ptr_eq(one.unwrap(), other.unwrap()));
}

/// What stands in a commit and its trees is not read before it is known to be of a sane size.
#[tokio::test]
async fn a_huge_commit_or_tree_is_refused_by_its_header() {
    let repo = Repo::new();
    repo.commit("a.yaml", "x");
    let blob = repo.git(&["rev-parse", "main:a.yaml"]);
    let raw: Vec<u8> = (0..blob.len() / 2).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).unwrap()).collect();
    // One entry with a name of many megabytes.
    let mut tree = b"100644 ".to_vec();
    tree.resize(limits::TREE_BYTES_MAX, b'n');
    tree.push(0);
    tree.extend(raw);
    std::fs::write(repo.path().join(".git/tree"), tree).unwrap();
    let tree = repo.git(&["hash-object", "-t", "tree", "--literally", "-w", ".git/tree"]);
    let commit = repo.git(&["commit-tree", "-m", "x", &tree]);
    let error = read(repo.path(), &commit, "", |_, _| false).await.unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { .. }) && error.to_string().contains("folders"), "{error}");

    std::fs::write(repo.path().join(".git/message"), "m".repeat(limits::TREE_BYTES_MAX)).unwrap();
    let commit = repo.git(&["commit-tree", "-F", ".git/message", "main^{tree}"]);
    let error = read(repo.path(), &commit, "", |_, _| false).await.unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { .. }), "{error}");
}
