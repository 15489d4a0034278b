//! Webhooks at a real hub: what one is worth, and what those cost that are forged, replayed, enormous or slow.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto_model::limits;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tempfile::TempDir;
use tests_wire::hook::{self, Answer, address, connect, metric, push, signed};
use tests_wire::hub::{DECLARATIONS, Hub, config_map};

const SECRET: &str = "what only the server and the hub know";
const GITHUB: &str = "/hooks/github";

/// A hub that polls its source once a day, so that whatever it sees in time a webhook showed it.
fn start(more: &[&str]) -> Result<(Hub, TempDir)> {
    let dir = tempfile::tempdir()?;
    let secret = private(dir.path(), "secret", SECRET)?;
    let mut args = vec!["--poll", "1d", "--hooks", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    args.extend(["--hook-secret-file", &secret]);
    args.extend(more);
    let files = [("drover.yaml", DECLARATIONS), ("web/web.yaml", &config_map("web", "one"))];
    let hub = Hub::start_with_args(&files, &args)?;
    sees(&hub, &hub.head()?)?;
    Ok((hub, dir))
}

fn private(dir: &Path, name: &str, text: &str) -> Result<String> {
    let path = dir.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

fn sees(hub: &Hub, commit: &str) -> Result<()> {
    hub.fleet.wait("the commit is seen", |status| status["sources"][0]["commit"] == commit).map(drop)
}

fn url(hub: &Hub) -> String {
    hub.fleet.repo.dir().display().to_string()
}

fn send(hub: &Hub, headers: &str, body: &str) -> Result<Answer> {
    hook::post(&mut connect(address(hub, "hooks")?)?, GITHUB, headers, body)
}

#[test]
fn a_push_is_seen_without_waiting_for_the_poll() -> Result<()> {
    let (hub, dir) = start(&[])?;
    let body = push(&url(&hub), "main");
    let second = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    let (status, answer) = send(&hub, &signed(SECRET, "push", &body), &body)?;
    ensure!(status == 202 && answer["outcome"] == "poked" && answer["sources"] == json!(["main"]), "{answer}");
    sees(&hub, &second)?;

    // A secret that is exchanged counts at once, and the one before while it stands there.
    private(dir.path(), "secret", &format!("another\n{SECRET}\n"))?;
    for secret in ["another", SECRET] {
        let commit = hub.commit("web/web.yaml", &config_map("web", secret))?;
        ensure!(send(&hub, &signed(secret, "push", &body), &body)?.0 == 202);
        sees(&hub, &commit)?;
    }
    let ping = send(&hub, &signed(SECRET, "ping", "{}"), "{}")?;
    ensure!(ping.0 == 200 && ping.1["outcome"] == "ping", "{ping:?}");
    let other = push(&url(&hub), "other");
    let unmatched = send(&hub, &signed(SECRET, "push", &other), &other)?;
    ensure!(unmatched.0 == 202 && unmatched.1["outcome"] == "unmatched", "{unmatched:?}");
    ensure!(unmatched.1["message"].as_str().is_some_and(|words| words.contains("ref")), "{unmatched:?}");
    Ok(())
}

#[test]
fn forged_webhooks_are_refused_and_fetch_nothing() -> Result<()> {
    let (hub, _dir) = start(&[])?;
    let before = metric(&hub, "drover_hub_fetches_total")?;
    let body = push(&url(&hub), "main");
    let elsewhere = push("https://example.com/else.git", "main");
    let good = signed(SECRET, "push", &body);
    let mut answers = Vec::new();
    for (headers, body) in [
        (signed("a guess", "push", &body), &body),
        (signed("", "push", &body), &body),
        (String::new(), &body),
        ("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256=\r\n".to_owned(), &body),
        // A good signature, of something else.
        (good, &elsewhere),
        (format!("X-Gitlab-Token: {SECRET}\r\n"), &body),
    ] {
        let (status, answer) = send(&hub, &headers, body)?;
        ensure!(status == 401, "{status} {answer}");
        answers.push(answer);
    }
    answers.dedup();
    ensure!(answers.len() == 1, "the answers tell apart what is wrong: {answers:?}");
    ensure!(metric(&hub, "drover_hub_hooks_total{provider=\"github\",outcome=\"refused\"}")? == 6);

    // Had one of them asked for a look, it would come before that of the good one.
    let commit = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    ensure!(send(&hub, &signed(SECRET, "push", &body), &body)?.0 == 202);
    sees(&hub, &commit)?;
    let fetches = metric(&hub, "drover_hub_fetches_total")? - before;
    ensure!(fetches == 1, "{fetches} fetches for one good webhook");
    ensure!(!hub.fleet.hub_log().contains(SECRET), "the secret is in the log");
    Ok(())
}

#[test]
fn replayed_webhooks_cost_one_more_fetch_at_most() -> Result<()> {
    const REPLAYS: u64 = 40;
    let (hub, _dir) = start(&[])?;
    let (before, began) = (metric(&hub, "drover_hub_fetches_total")?, Instant::now());
    let body = push(&url(&hub), "main");
    let headers = signed(SECRET, "push", &body);
    for _ in 0..REPLAYS {
        let (status, answer) = send(&hub, &headers, &body)?;
        ensure!(status == 202, "{status} {answer}");
    }
    let commit = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    ensure!(send(&hub, &headers, &body)?.0 == 202);
    sees(&hub, &commit)?;
    let fetches = metric(&hub, "drover_hub_fetches_total")? - before;
    // One at once, one for all that came meanwhile, and as many more as their spacing lets through.
    let spaced = u64::try_from(began.elapsed().as_millis())? / limits::HOOK_FETCH_MILLIS_MIN;
    ensure!(fetches <= 2 + spaced, "{fetches} fetches for {REPLAYS} replays");
    ensure!(2 + spaced < REPLAYS, "too slow a machine to tell");
    Ok(())
}

#[test]
fn enormous_webhooks_are_refused() -> Result<()> {
    let (hub, _dir) = start(&[])?;
    let to = address(&hub, "hooks")?;
    let headers = signed(SECRET, "push", "");
    // One that says how large it is: not a byte of it is read.
    let mut stream = connect(to)?;
    let length = limits::HOOK_BYTES_MAX + 1;
    write!(stream, "POST {GITHUB} HTTP/1.1\r\nHost: hub\r\nContent-Length: {length}\r\n{headers}\r\n")?;
    let (status, answer) = hook::answer(&mut stream)?;
    ensure!(status == 413 && answer["outcome"] == "tooLarge", "{status} {answer}");

    // One that does not say.
    let mut stream = connect(to)?;
    write!(stream, "POST {GITHUB} HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n{headers}\r\n")?;
    let chunk = vec![b' '; 1024 * 1024];
    for _ in 0..=limits::HOOK_BYTES_MAX / chunk.len() {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(&chunk)?;
        stream.write_all(b"\r\n")?;
    }
    let (status, answer) = hook::answer(&mut stream)?;
    ensure!(status == 413 && answer["outcome"] == "tooLarge", "{status} {answer}");

    // Headers without end.
    let mut stream = connect(to)?;
    write!(stream, "POST {GITHUB} HTTP/1.1\r\nHost: hub\r\nX-Long: {}", "x".repeat(limits::HOOK_HEADER_BYTES_MAX))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");

    // And the hub goes on.
    let body = push(&url(&hub), "main");
    ensure!(send(&hub, &signed(SECRET, "push", &body), &body)?.0 == 202);
    Ok(())
}

#[test]
fn slow_webhooks_are_cut_off_and_delay_nobody() -> Result<()> {
    let (hub, _dir) = start(&[])?;
    let to = address(&hub, "hooks")?;
    let (mut silent, mut slow) = (connect(to)?, connect(to)?);
    write!(silent, "POST {GITHUB} HTTP/1.1\r\nHost: hub\r\n")?;
    write!(slow, "POST {GITHUB} HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\n{}\r\n{{", signed(SECRET, "push", ""))?;
    let began = Instant::now();
    let body = push(&url(&hub), "main");
    ensure!(send(&hub, &signed(SECRET, "push", &body), &body)?.0 == 202);
    ensure!(began.elapsed() < Duration::from_secs(limits::HOOK_HEADER_SECS_MAX), "it waited for the slow ones");

    let mut rest = Vec::new();
    silent.read_to_end(&mut rest)?;
    let (status, answer) = hook::answer(&mut slow)?;
    ensure!(status == 408 && answer["outcome"] == "tooSlow", "{status} {answer}");
    ensure!(began.elapsed() < Duration::from_secs(limits::HOOK_SECS_MAX), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn webhooks_that_no_server_sends_are_told_what_is_wrong() -> Result<()> {
    let (hub, _dir) = start(&[])?;
    let ask = |head: &str| -> Result<Answer> {
        let mut stream = connect(address(&hub, "hooks")?)?;
        write!(stream, "{head}Host: hub\r\nContent-Length: 0\r\n\r\n")?;
        hook::answer(&mut stream)
    };
    for (head, status) in [
        ("GET /hooks/github HTTP/1.1\r\n", 405),
        ("POST /hooks/other HTTP/1.1\r\n", 404),
        ("POST / HTTP/1.1\r\n", 404),
        ("POST /hooks/gitea HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n", 415),
    ] {
        let (found, answer) = ask(head)?;
        ensure!(found == status && answer["message"].is_string(), "{head:?}: {found} {answer}");
    }
    let (status, answer) = send(&hub, &signed(SECRET, "push", "[1"), "[1")?;
    ensure!(status == 400 && answer["outcome"] == "invalid", "{status} {answer}");
    Ok(())
}

#[test]
fn webhooks_over_tls() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["hub.example.com".to_owned()])?;
    let certificate = private(dir.path(), "tls.pem", &cert.pem())?;
    let key = private(dir.path(), "tls.key", &signing_key.serialize_pem())?;
    let (hub, _dir) = start(&["--hooks-tls", &format!("{certificate},{key}")])?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(cert))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "hub.example.com".try_into()?)?;
    let mut stream = StreamOwned::new(client, connect(address(&hub, "hooks")?)?);
    let body = push(&url(&hub), "main");
    let commit = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    let (status, answer) = hook::post(&mut stream, GITHUB, &signed(SECRET, "push", &body), &body)?;
    ensure!(status == 202 && answer["outcome"] == "poked", "{status} {answer}");
    sees(&hub, &commit)
}
