//! Metrics, for Prometheus, on a listener of their own. Counts and sizes only: never a name of a
//! person's, never content.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::debug;

/// Scrapes served at once.
const SCRAPES_MAX: usize = 8;
/// Time for one scrape, in seconds.
const SCRAPE_SECS_MAX: u64 = 10;

/// What a replica counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// TLS connections open.
    pub connections: Gauge,
    /// Connections closed at accept, for want of room.
    pub connections_refused: Counter,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Streams of spokes that stand.
    pub streams: Gauge,
    /// Streams of spokes that were refused.
    pub streams_refused: Counter,
    /// 1 where nothing is planned, since a spoke holds more than this hub ever said.
    pub planning_stopped: Gauge,
    /// Bytes of deltas, variants and bodies given to streams.
    pub delta_bytes: Counter,
    /// Deltas that spokes hold durably.
    pub acks: Counter,
    /// Reports received.
    pub reports: Counter,
    /// Time from a report's arrival until the log holds it, in seconds.
    pub report_lag: Histogram,
    /// Clusters that joined or renewed an expired certificate.
    pub enrolments: Counter,
    /// Entries proposed to the log.
    pub entries: Counter,
    /// Entries that Fleet refused.
    pub entries_refused: Counter,
    /// Time from a proposal until it is applied, in seconds.
    pub propose: Histogram,
    /// Fetches of sources that ended well.
    pub fetches: Counter,
    /// Fetches of sources that failed.
    pub fetches_failed: Counter,
    /// Webhooks, by server and what became of them.
    hooks: Family<[(&'static str, &'static str); 2], Counter>,
    /// Bundles rendered, without those that were known already.
    pub renderings: Counter,
    /// Defects in the present head of each source, without notes.
    defects: Family<[(&'static str, String); 1], Gauge>,
    /// Index of the last entry that was applied here.
    pub applied_index: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("drover_hub");
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        Self {
            connections: metric!("connections", "TLS connections open", Gauge::default()),
            connections_refused: metric!(
                "connections_refused",
                "Connections closed at accept for want of room",
                Counter::default()
            ),
            handshakes_failed: metric!(
                "handshakes_failed",
                "TLS handshakes that failed or took too long",
                Counter::default()
            ),
            streams: metric!("streams", "Streams of spokes that stand", Gauge::default()),
            streams_refused: metric!("streams_refused", "Streams of spokes that were refused", Counter::default()),
            planning_stopped: metric!(
                "planning_stopped",
                "1 where a spoke is ahead of this hub, whose directory is older than the fleet",
                Gauge::default()
            ),
            delta_bytes: metric!(
                "sync_delta_bytes",
                "Bytes of deltas, variants and bodies given to streams",
                Counter::default()
            ),
            acks: metric!("acks", "Deltas that spokes hold durably", Counter::default()),
            reports: metric!("reports", "Reports received", Counter::default()),
            report_lag: metric!("report_lag_seconds", "Time from a report's arrival until the log holds it", seconds()),
            enrolments: metric!(
                "enrolments",
                "Clusters that joined or renewed an expired certificate",
                Counter::default()
            ),
            entries: metric!("entries", "Entries proposed to the log", Counter::default()),
            entries_refused: metric!("entries_refused", "Entries that Fleet refused", Counter::default()),
            propose: metric!("propose_seconds", "Time from a proposal until it is applied", seconds()),
            fetches: metric!("fetches", "Fetches that ended well", Counter::default()),
            fetches_failed: metric!("fetches_failed", "Fetches that failed", Counter::default()),
            hooks: metric!("hooks", "Webhooks, by server and what became of them", Family::default()),
            renderings: metric!("renderings", "Bundles rendered, without those known already", Counter::default()),
            defects: metric!("defects", "Defects in the present head of each source", Family::default()),
            applied_index: metric!("applied_index", "Index of the last entry applied here", Gauge::default()),
            registry,
        }
    }
}

impl Metrics {
    /// A webhook came; both are words of a fixed few.
    pub fn hook(&self, provider: &'static str, outcome: &'static str) {
        self.hooks.get_or_create(&[("provider", provider), ("outcome", outcome)]).inc();
    }

    /// So many defects does the head of a source have.
    pub fn defects(&self, source: &str, found: usize) {
        let found = i64::try_from(found).unwrap_or(i64::MAX);
        self.defects.get_or_create(&[("source", source.to_owned())]).set(found);
    }

    /// Nothing is said of a source any more.
    pub fn forget(&self, source: &str) {
        self.defects.remove(&[("source", source.to_owned())]);
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a text has no way to fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

/// Serves `GET /metrics` on an address until `stop` turns true; says which address it became.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(metrics: Arc<Metrics>, address: SocketAddr, stop: watch::Receiver<bool>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(accept(metrics, listener, stop));
    Ok(bound)
}

async fn accept(metrics: Arc<Metrics>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(SCRAPES_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (Ok((socket, _)), Ok(permit)) = (accepted, Arc::clone(&room).try_acquire_owned()) else {
            tokio::task::yield_now().await;
            continue;
        };
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&metrics, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).keep_alive(false);
            let served = http.serve_connection(TokioIo::new(socket), answer);
            let limit = std::time::Duration::from_secs(SCRAPE_SECS_MAX);
            if let Ok(Err(error)) = tokio::time::timeout(limit, served).await {
                debug!(%error, "metrics connection ended");
            }
            drop(permit);
        });
    }
}

fn answer(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_their_names_and_units() {
        let metrics = Metrics::default();
        metrics.delta_bytes.inc_by(7);
        metrics.streams.set(3);
        let text = metrics.text();
        assert!(text.contains("drover_hub_sync_delta_bytes_total 7"), "{text}");
        assert!(text.contains("drover_hub_streams 3"), "{text}");
        assert!(text.contains("drover_hub_report_lag_seconds_bucket"), "{text}");
    }

    #[test]
    fn defects_are_told_of_each_source() {
        let metrics = Metrics::default();
        metrics.defects("main", 2);
        metrics.defects("team", 1);
        metrics.defects("main", 0);
        let text = metrics.text();
        assert!(text.contains("drover_hub_defects{source=\"main\"} 0"), "{text}");
        assert!(text.contains("drover_hub_defects{source=\"team\"} 1"), "{text}");
        metrics.forget("team");
        assert!(!metrics.text().contains("team"));
    }
}
