//! Messages: small ones only, whatever is sent; and a peer that sends what no spoke would ends its own stream alone.

use anyhow::{Context as _, Result};
use prost::Message as _;
use proto_model::delta::ToHub;
use proto_model::{Digest, limits};
use proto_wire::sync::{Chunk, SpokeMessage, spoke_message::Kind};
use tests_wire::hub::{DECLARATIONS, Hub, config_map};
use tests_wire::spoke::{Spoke, Stream};
use tonic::Code;

/// Text that no compression makes smaller by much.
fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(letters[(state % 64) as usize])
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test]
async fn no_message_is_above_4_kib_whatever_the_object() -> Result<()> {
    let bytes = 1024 * 1024;
    let hub =
        Hub::start_with(&[("drover.yaml", DECLARATIONS), ("web/web.yaml", &config_map("web", &noise(bytes, 1)))])?;
    let (mut spoke, mut stream) = Spoke::attached(&hub, "a").await?;
    assert!(spoke.bodies.values().any(|body| body.len() > bytes), "the whole object came");
    assert!(stream.count > 150, "{} messages", stream.count);
    assert!(stream.largest_bytes <= limits::SYNC_MESSAGE_BYTES_MAX, "{} bytes", stream.largest_bytes);
    // Nor is a difference, though it is cheap.
    let (count, sent) = (stream.count, hub.cluster("a").await?.sent_delta_bytes);
    hub.commit("web/web.yaml", &config_map("web", &format!("{}-changed", noise(bytes, 1))))?;
    spoke.follow(&mut stream, |spoke| spoke.holds("-changed")).await?;
    assert!(stream.largest_bytes <= limits::SYNC_MESSAGE_BYTES_MAX, "{} bytes", stream.largest_bytes);
    let cost = hub.cluster("a").await?.sent_delta_bytes - sent;
    assert!(cost < 16 * 1024, "{cost} bytes in {} messages for a few letters", stream.count - count);
    Ok(())
}

fn message(kind: Kind) -> Vec<u8> {
    SpokeMessage { kind: Some(kind) }.encode_to_vec()
}

fn chunk(data: usize, last: bool) -> Chunk {
    Chunk { data: vec![7; data].into(), last }
}

/// What a hostile peer says, after a proper Hello, until the hub has had enough.
async fn say(stream: &Stream, kind: &str) -> Result<()> {
    match kind {
        "garbage" => stream.say_bytes(vec![0xff; 100]).await,
        "an empty message" => stream.say_bytes(Vec::new()).await,
        "an unknown kind" => stream.say_bytes(vec![0xfa, 0x7f, 0x02, 1, 2]).await,
        "a message above the limit" => stream.say_bytes(message(Kind::Report(chunk(64 * 1024, true)))).await,
        "a blob above the limit" => {
            for _ in 0..2 * limits::SYNC_REPORT_BYTES_MAX / limits::SYNC_CHUNK_BYTES_MAX {
                stream.say_bytes(message(Kind::Report(chunk(limits::SYNC_CHUNK_BYTES_MAX, false)))).await;
            }
        }
        "interleaved chunks" => {
            stream.say_bytes(message(Kind::Report(chunk(100, false)))).await;
            stream.say_bytes(message(Kind::Need(chunk(100, true)))).await;
        }
        "a word between chunks" => {
            stream.say_bytes(message(Kind::Report(chunk(100, false)))).await;
            stream.say(&ToHub::Ack { generation: 1, root: Digest::of(b"") }).await;
        }
        "a chunk of nothing" => stream.say_bytes(message(Kind::Report(chunk(0, false)))).await,
        "a report that is none" => stream.say_bytes(message(Kind::Report(chunk(100, true)))).await,
        "an Ack of nothing sent" => stream.say(&ToHub::Ack { generation: 99, root: Digest::of(b"") }).await,
        "a request that is no certificate's" => stream.say(&ToHub::Renew(b"nonsense".to_vec())).await,
        other => anyhow::bail!("no such kind: {other}"),
    }
    Ok(())
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_ends_its_own_stream_alone() -> Result<()> {
    let hub = Hub::start()?;
    let (mut other, mut others) = Spoke::attached(&hub, "b").await?;
    let mut spoke = Spoke::join(&hub, "a").await?;
    for kind in [
        "garbage",
        "an empty message",
        "an unknown kind",
        "a message above the limit",
        "a blob above the limit",
        "interleaved chunks",
        "a word between chunks",
        "a chunk of nothing",
        "a report that is none",
        "an Ack of nothing sent",
        "a request that is no certificate's",
    ] {
        let mut stream = spoke.connect(&hub).await?;
        let before = spoke.hello.session_token.clone();
        // An Ack counts only while a delta is under way, so the delta is left unanswered.
        let welcome = stream.next().await?.with_context(|| format!("no welcome before {kind}"))?;
        if let proto_model::delta::ToSpoke::Welcome { session_token, .. } = welcome {
            spoke.hello.session_token = session_token;
        }
        assert_ne!(spoke.hello.session_token, before);
        say(&stream, kind).await?;
        let status = stream.end().await.with_context(|| kind.to_owned())?;
        // What does not even read is a broken transport; what reads but means nothing is told.
        let reads = !["garbage", "an unknown kind", "a message above the limit"].contains(&kind);
        assert!(!reads || status.is_some_and(|status| status.code() == Code::InvalidArgument), "{kind}");
    }
    // Its next stream is served as ever, and the other one never noticed.
    let mut stream = spoke.connect(&hub).await?;
    spoke.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await?;
    hub.commit("web/web.yaml", &config_map("web", "after-all-that"))?;
    other.follow(&mut others, |spoke| spoke.holds("after-all-that")).await?;
    spoke.follow(&mut stream, |spoke| spoke.holds("after-all-that")).await
}

#[tokio::test]
async fn a_stream_begins_with_a_hello_or_not_at_all() -> Result<()> {
    let hub = Hub::start()?;
    let spoke = Spoke::join(&hub, "a").await?;
    let mut stream = spoke.open(&hub).await?;
    stream.say(&ToHub::Ack { generation: 1, root: Digest::of(b"") }).await;
    assert_eq!(stream.broken().await?.code(), Code::InvalidArgument);
    let mut twice = spoke.connect(&hub).await?;
    twice.say(&ToHub::Hello(spoke.hello.clone())).await;
    assert_eq!(twice.broken().await?.code(), Code::InvalidArgument);
    // Silence is bounded as well.
    let mut silent = spoke.open(&hub).await?;
    assert_eq!(silent.broken().await?.code(), Code::InvalidArgument);
    Ok(())
}
