//! Fences: what a spoke must present, and how little of the fleet a wrong one stops.

use anyhow::Result;
use proto_model::Fence;
use proto_model::delta::{Refusal, ToHub};
use proto_wire::control::ReplaceCluster;
use proto_wire::control::execute_request::Command;
use tests_wire::hub::{Hub, config_map};
use tests_wire::spoke::{Spoke, Stream};

fn replace(cluster: &str) -> Command {
    Command::ReplaceCluster(ReplaceCluster { cluster: cluster.into() })
}

/// A new commit reaches a spoke through the stream that it has had all along.
async fn goes_on(hub: &Hub, spoke: &mut Spoke, stream: &mut Stream, value: &str) -> Result<()> {
    hub.commit("web/web.yaml", &config_map("web", value))?;
    spoke.follow(stream, |spoke| spoke.holds(value)).await
}

#[tokio::test]
async fn a_forged_fence_quarantines_that_cluster_alone() -> Result<()> {
    let hub = Hub::start()?;
    let (mut thief, stream) = Spoke::attached(&hub, "a").await?;
    let (mut other, mut others) = Spoke::attached(&hub, "b").await?;
    drop(stream);
    let honest = thief.hello.clone();
    thief.hello.fence.generation += 1_000;
    assert_eq!(thief.connect(&hub).await?.refusal().await?, Refusal::ForeignFence);
    let hold = hub.cluster("a").await?.hold;
    assert!(hold.contains("cluster replace"), "{hold}");
    // What it held before the forgery opens nothing any more, and nobody else is held up.
    thief.hello = honest;
    assert_eq!(thief.connect(&hub).await?.refusal().await?, Refusal::ForeignFence);
    goes_on(&hub, &mut other, &mut others, "after-the-forgery").await?;
    assert!(hub.cluster("b").await?.hold.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_spoke_that_is_truly_ahead_is_refused_and_planning_stops() -> Result<()> {
    let hub = Hub::start()?;
    let (mut spoke, stream) = Spoke::attached(&hub, "a").await?;
    let (mut other, mut others) = Spoke::attached(&hub, "b").await?;
    drop(stream);
    // What this hub would say later: its own MAC over a generation that it has not reached.
    spoke.hello.fence.generation += 5;
    spoke.hello.fence_mac = hub.identity.mac.fence("a", &spoke.hello.fence);
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::ForeignFence);
    let hold = hub.cluster("a").await?.hold;
    assert!(!hold.contains("cluster replace"), "nobody is quarantined: {hold}");
    let head = hub.commit("web/web.yaml", &config_map("web", "never"))?;
    hub.status_until(|status| status.sources[0].commit == head).await?;
    let generation = hub.cluster("b").await?.generation;
    assert_eq!(generation, other.hello.fence.generation, "nothing is planned");
    // Streams that stand are served as before.
    others.say(&ToHub::Report(other.reports["main/web"].clone())).await;
    let mut again = other.connect(&hub).await?;
    assert_eq!(others.refusal().await?, Refusal::Displaced);
    let before = other.hello.session_token.clone();
    other.follow(&mut again, |spoke| spoke.hello.session_token != before).await?;
    Ok(())
}

#[tokio::test]
async fn the_fence_of_another_hub_is_refused_and_quarantines_nobody() -> Result<()> {
    let hub = Hub::start()?;
    let (mut spoke, stream) = Spoke::attached(&hub, "a").await?;
    drop(stream);
    let own = spoke.hello.fence.clone();
    spoke.hello.fence = Fence { hub_id: "ffffffffffffffffffffffffffffffff".into(), ..own.clone() };
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::ForeignFence);
    spoke.hello.fence = own;
    let mut stream = spoke.connect(&hub).await?;
    goes_on(&hub, &mut spoke, &mut stream, "still-served").await
}

#[tokio::test]
async fn an_older_session_token_is_a_duplicate_identity() -> Result<()> {
    let hub = Hub::start()?;
    let (mut spoke, first) = Spoke::attached(&hub, "a").await?;
    let old = spoke.hello.session_token.clone();
    drop(first);
    let mut second = spoke.connect(&hub).await?;
    goes_on(&hub, &mut spoke, &mut second, "the-new-session").await?;
    assert_ne!(spoke.hello.session_token, old);
    let current = std::mem::replace(&mut spoke.hello.session_token, old);
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::DuplicateIdentity);
    // Nobody can tell which of the two is the true one, so neither is served.
    assert_eq!(second.refusal().await?, Refusal::DuplicateIdentity);
    spoke.hello.session_token = current;
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::DuplicateIdentity);
    let hold = hub.cluster("a").await?.hold;
    assert!(hold.contains("duplicate identity"), "{hold}");
    Ok(())
}

#[tokio::test]
async fn another_kube_system_is_held_until_the_cluster_is_replaced() -> Result<()> {
    let mut hub = Hub::start()?;
    let (mut spoke, stream) = Spoke::attached(&hub, "a").await?;
    drop(stream);
    spoke.hello.cluster_uid = "uid-of-a-new-installation".into();
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::OtherCluster);
    // Held is held: after a restart as well.
    hub.restart()?;
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::OtherCluster);
    assert_eq!(hub.cluster("a").await?.incarnation, 1);

    hub.execute(replace("a")).await?;
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::Revoked, "the old key is worth nothing now");
    let mut fresh = Spoke::join(&hub, "a").await?;
    fresh.hello.cluster_uid = spoke.hello.cluster_uid.clone();
    let mut stream = fresh.connect(&hub).await?;
    fresh.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await?;
    assert_eq!(fresh.hello.fence.incarnation, 2);
    assert_eq!(hub.cluster("a").await?.incarnation, 2);
    goes_on(&hub, &mut fresh, &mut stream, "the-second-incarnation").await
}

#[tokio::test]
async fn the_second_stream_of_a_spoke_displaces_the_first() -> Result<()> {
    let hub = Hub::start()?;
    let (mut spoke, mut first) = Spoke::attached(&hub, "a").await?;
    let mut second = spoke.connect(&hub).await?;
    assert_eq!(first.refusal().await?, Refusal::Displaced);
    goes_on(&hub, &mut spoke, &mut second, "through-the-second").await?;
    assert!(hub.cluster("a").await?.connected);
    Ok(())
}
