//! Peers that connect and then say nothing: they hold a place for a while, and nobody else is kept out for longer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto_model::limits;
use proto_wire::control::StatusRequest;
use tests_wire::hub::Hub;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time beyond the handshake's own in which everything must have happened: a slow machine under other tests.
const SLACK: Duration = Duration::from_secs(15);

async fn until_closed(mut socket: TcpStream) -> Result<()> {
    let mut bytes = [0; 64];
    // A reset is an end, too.
    while socket.read(&mut bytes).await.unwrap_or(0) > 0 {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peers_are_closed_and_real_ones_are_served_after_them() -> Result<()> {
    let hub = Hub::start()?;
    let address: SocketAddr = hub.address()?.parse()?;
    let begun = Instant::now();
    let mut silent = JoinSet::new();
    // More than may shake hands at once, so that a newcomer has to wait for their end.
    for _ in 0..limits::TLS_HANDSHAKES_MAX + 44 {
        silent.spawn(until_closed(TcpStream::connect(address).await?));
    }
    let handshake = Duration::from_secs(limits::TLS_HANDSHAKE_SECS_MAX);
    let mut control = hub.control(Some(&hub.admin()))?;
    let served = timeout(handshake + SLACK, async {
        // A client gives up its own attempts in between and tries again.
        while control.status(StatusRequest::default()).await.is_err() {}
    });
    served.await.context("a newcomer is kept out by silent peers")?;
    // Those that were accepted late have the same time of their own.
    timeout(2 * handshake + SLACK, async { while silent.join_next().await.is_some() {} })
        .await
        .context("silent peers are not closed")?;
    ensure!(begun.elapsed() >= handshake, "they were given less time than a handshake may take");
    Ok(())
}
