//! The client of an API server: kube's, over connections that notice when the other side is gone. A watch may be quiet
//! for as long as it likes, and nothing else would tell a quiet one from one that leads nowhere.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config, Error};
use proto_model::limits;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// Makes a client.
///
/// # Errors
/// The settings make none.
pub(crate) fn client(config: Config) -> Result<Client, Error> {
    if let Some(proxy_url) = &config.proxy_url {
        return Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy_url.clone()) });
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector())?);
    connector.set_connect_timeout(config.connect_timeout);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS lies above it.
    connector.enforce_http(false);
    connector.set_keepalive(Some(Duration::from_secs(limits::API_KEEPALIVE_SECS)));
    connector.set_keepalive_interval(Some(Duration::from_secs(limits::API_KEEPALIVE_AGAIN_SECS)));
    connector.set_keepalive_retries(Some(limits::API_KEEPALIVES_MAX));
    connector
}
