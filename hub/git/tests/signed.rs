//! Sources whose head must be signed: what is not, is never read. The commits and tags below were
//! made by Git with ssh-keygen and gpg.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Mirror, Repo, fetch, git};
use hub_git::{Distrust, FetchError, Signers};

const SIGNER: &str = include_str!("keys/signer.pub");
const RSA: &str = include_str!("signed/rsa.asc");

#[test]
fn child() {
    common::child();
}

/// Lets a ref name an object that was signed elsewhere, and gives its id.
fn put(repo: &Repo, kind: &str, file: &str, reference: &str) -> String {
    let file = format!("{}/tests/signed/{file}", env!("CARGO_MANIFEST_DIR"));
    let id = repo.git(&["hash-object", "-t", kind, "-w", &file]);
    repo.git(&["update-ref", reference, &id]);
    id
}

/// A repository with the tree of the signed commits.
fn repo() -> Repo {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    repo
}

fn signed_by(repo: &Repo, reference: &str, keys: &str) -> Mirror {
    let mut mirror = Mirror::of(repo.path().to_str().unwrap(), reference);
    mirror.source.signers = Some(Signers::Keys(vec![keys.to_owned()]));
    mirror
}

#[tokio::test]
async fn only_a_signed_head_is_followed() {
    let repo = repo();
    let mut mirror = signed_by(&repo, "main", &format!("{SIGNER}\n{RSA}"));
    let signed = put(&repo, "commit", "ssh-ed25519.commit", "refs/heads/main");
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, signed);
    assert!(fetch(&mirror.source).await.unwrap().unchanged);
    mirror.source.accepted = Some(signed.clone());

    // However often it is looked at, and though it lies in the mirror by now.
    let unsigned = git(repo.path(), &["commit-tree", "-p", &signed, "-m", "x", "main^{tree}"]);
    repo.git(&["update-ref", "refs/heads/main", &unsigned]);
    for _ in 0..2 {
        let expected = FetchError::Unverified { object: format!("commit {unsigned}"), why: Distrust::Unsigned };
        assert_eq!(fetch(&mirror.source).await, Err(expected));
        common::still_reads(&mirror, &signed).await;
    }
    let other = put(&repo, "commit", "gpg-rsa.commit", "refs/heads/main");
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, other);

    let file = mirror.dir.path().join("signers");
    std::fs::write(&file, RSA).unwrap();
    mirror.source.signers = Some(Signers::File(file.clone()));
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, other);
    std::fs::write(&file, SIGNER).unwrap();
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unverified { why: Distrust::UnknownKey(_), .. }), "{error}");
    assert!(error.to_string().contains("79350c80f95192ba2dbd3b803d649728229f4268"), "{error}");
    std::fs::write(&file, "").unwrap();
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Credentials { .. }), "{error}");
}

#[tokio::test]
async fn a_signed_tag_counts_for_its_commit() {
    let repo = repo();
    let commit = put(&repo, "commit", "unsigned.commit", "refs/heads/main");
    put(&repo, "tag", "ssh.tag", "refs/tags/v1");
    assert_eq!(fetch(&signed_by(&repo, "v1", SIGNER).source).await.unwrap().commit, commit);
    let error = fetch(&signed_by(&repo, "v1", RSA).source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unverified { why: Distrust::UnknownKey(_), .. }), "{error}");
    let error = fetch(&signed_by(&repo, "main", SIGNER).source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unverified { why: Distrust::Unsigned, .. }), "{error}");
    // The old release under the name of a new one.
    put(&repo, "tag", "ssh.tag", "refs/tags/v2");
    let error = fetch(&signed_by(&repo, "v2", SIGNER).source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unverified { why: Distrust::OtherTag(_), .. }), "{error}");
    let signed = put(&repo, "commit", "ssh-ed25519.commit", "refs/heads/main");
    repo.git(&["tag", "-f", "-a", "-m", "not signed itself", "v3", &signed]);
    assert_eq!(fetch(&signed_by(&repo, "v3", SIGNER).source).await.unwrap().commit, signed);
}

/// Whoever may push tags could give any signed release another name, or put it on a branch.
#[tokio::test]
async fn a_tag_within_another_or_on_a_branch_counts_for_nothing() {
    let repo = repo();
    let commit = put(&repo, "commit", "unsigned.commit", "refs/heads/main");
    let signed = put(&repo, "tag", "ssh.tag", "refs/tags/v1");
    let unsigned = Err(FetchError::Unverified { object: format!("commit {commit}"), why: Distrust::Unsigned });
    repo.git(&["tag", "-a", "-m", "not signed itself", "release", &signed]);
    assert_eq!(fetch(&signed_by(&repo, "release", SIGNER).source).await, unsigned);
    // Git itself puts no tag on a branch.
    std::fs::write(repo.path().join(".git/refs/heads/release"), format!("{signed}\n")).unwrap();
    repo.git(&["update-ref", "refs/other/release", &signed]);
    for reference in ["refs/heads/release", "refs/other/release", &signed] {
        assert_eq!(fetch(&signed_by(&repo, reference, SIGNER).source).await, unsigned, "{reference}");
    }
}

#[tokio::test]
async fn a_tag_that_was_signed_anew_on_the_same_commit_is_fetched() {
    let repo = repo();
    let commit = put(&repo, "commit", "unsigned.commit", "refs/heads/main");
    repo.git(&["tag", "-a", "-m", "not signed yet", "v1", &commit]);
    let server = common::serve(common::Answer::Git { root: repo.path().to_owned(), asks: None });
    let local = signed_by(&repo, "v1", SIGNER);
    let mut remote = signed_by(&repo, "v1", SIGNER);
    remote.source.url = format!("http://{server}/.git");
    for mirror in [&local, &remote] {
        let error = fetch(&mirror.source).await.unwrap_err();
        assert!(matches!(error, FetchError::Unverified { why: Distrust::Unsigned, .. }), "{error}");
    }
    put(&repo, "tag", "ssh.tag", "refs/tags/v1");
    for mirror in [&local, &remote] {
        assert_eq!(fetch(&mirror.source).await.unwrap().commit, commit);
        assert!(fetch(&mirror.source).await.unwrap().unchanged);
    }
}
