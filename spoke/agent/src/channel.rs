//! Connections to a hub: HTTP/2 over TLS, with small windows and pings.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto_model::limits;
use proto_wire::SERVER_NAME;
use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Connects to one address.
///
/// # Errors
/// Nobody answers there in time, or whoever does is not trusted.
pub(crate) async fn connect(address: &str, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    // Pings of a fleet that connected at once must not come at once.
    let ping = Duration::from_secs(limits::SYNC_PING_SECS).mul_f64(1.0 + rand::random::<f64>());
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(limits::CONNECT_SECS_MAX))
        .initial_stream_window_size(limits::SYNC_WINDOW_BYTES)
        .initial_connection_window_size(limits::SYNC_CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(ping)
        .keep_alive_timeout(Duration::from_secs(limits::SYNC_PING_TIMEOUT_SECS))
        .keep_alive_while_idle(true);
    let address = address.to_owned();
    let connector = tower::service_fn(move |_| {
        let (address, tls) = (address.clone(), TlsConnector::from(Arc::clone(&tls)));
        async move {
            let tcp = TcpStream::connect(&address).await?;
            tcp.set_nodelay(true)?;
            // Every hub has this name, whatever its addresses.
            let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, tcp).await?))
        }
    });
    endpoint.connect_with_connector(connector).await
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether the other side refused a connection because our certificate has ended, by its clock.
pub(crate) fn is_expired(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(
            tls.or_else(|| cause.downcast_ref::<rustls::Error>()),
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired))
        )
    })
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let present = next?;
        next = present.source();
        Some(present)
    })
}
