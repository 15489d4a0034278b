//! Webhooks as Git servers send them, over plain sockets, so that a test can also send what no server would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};
use aws_lc_rs::hmac;
use serde_json::{Value as Json, json};

use crate::PATIENCE;
use crate::hub::Hub;

/// An answer: status and body.
pub type Answer = (u16, Json);

/// A push to a branch, as GitHub and Gitea tell it.
#[must_use]
pub fn push(url: &str, branch: &str) -> String {
    json!({"ref": format!("refs/heads/{branch}"), "repository": {"clone_url": url, "default_branch": "main"}})
        .to_string()
}

/// The headers of a webhook that is signed as GitHub does.
#[must_use]
pub fn signed(secret: &str, event: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    format!("X-GitHub-Event: {event}\r\nX-Hub-Signature-256: sha256={}\r\n", hex::encode(tag))
}

/// An address that the hub printed once it was ready.
///
/// # Errors
/// It printed none.
pub fn address(hub: &Hub, what: &str) -> Result<SocketAddr> {
    let log = hub.fleet.hub_log();
    let line = log.lines().find(|line| line.contains("\"ready\":true")).context("the hub is not ready")?;
    let ready: Json = serde_json::from_str(line)?;
    Ok(ready[what].as_str().with_context(|| format!("no {what} in {ready}"))?.parse()?)
}

/// Connects; nothing waits longer than a test has patience.
///
/// # Errors
/// Nobody listens.
pub fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a webhook and reads the answer.
///
/// # Errors
/// The connection ends before it.
pub fn post(stream: &mut (impl Read + Write), path: &str, headers: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Length: {length}\r\n{headers}\r\n{body}")?;
    stream.flush()?;
    answer(stream)
}

/// Reads an answer of JSON.
///
/// # Errors
/// The connection ends before it, or it is something else.
pub fn answer(stream: &mut impl Read) -> Result<Answer> {
    let (status, body) = text(stream)?;
    Ok((status, serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?))
}

fn text(stream: &mut impl Read) -> Result<(u16, String)> {
    let mut bytes = Vec::new();
    // A peer that closes without a goodbye of TLS has said all that it had to.
    if let Err(error) = stream.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(error.into());
    }
    let all = String::from_utf8(bytes)?;
    let (head, body) = all.split_once("\r\n\r\n").with_context(|| format!("no answer: {all:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// One metric of the hub, which was started with `--metrics`.
///
/// # Errors
/// It serves none, or not that one.
pub fn metric(hub: &Hub, name: &str) -> Result<u64> {
    let mut stream = connect(address(hub, "metrics")?)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
    let (_, body) = text(&mut stream)?;
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {body}"))?.parse()?)
}
