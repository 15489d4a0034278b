//! The control API as this program uses it: any replica that answers, with the operator's certificate.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use proto_model::limits;
use proto_wire::control::control_client::ControlClient;
use proto_wire::control::execute_request::Command;
use proto_wire::control::get_request::What;
use proto_wire::control::{
    DiffRequest, DiffResponse, ExecuteRequest, ExecuteResponse, ExplainRequest, ExplainResponse, GetRequest,
    GetResponse, StatusRequest, StatusResponse,
};
use tonic::codec::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Response};

use crate::context::Context;
use crate::error::Error;

/// The name that every hub's certificate carries, whatever its addresses.
const SERVER_NAME: &str = "drover-hub";
/// For one connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long addresses are tried before a command gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two rounds over the addresses.
const ROUND_PAUSE: Duration = Duration::from_millis(250);
/// Between two signs of life on a connection that is watched.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A client of one hub.
pub struct Client {
    context: Context,
    connection: Option<(String, ControlClient<Channel>)>,
    /// The highest applied index that any answer carried.
    seen_index: u64,
}

impl Client {
    /// A client that connects when it is first used.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, connection: None, seen_index: 0 }
    }

    /// The state of the fleet; empty lists mean all.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn status(&mut self, clusters: &[String], bundles: &[String]) -> Result<StatusResponse, Error> {
        let (clusters, bundles) = (clusters.to_vec(), bundles.to_vec());
        let answer = self
            .call(|mut client, min_applied_index| {
                let request = StatusRequest { min_applied_index, clusters: clusters.clone(), bundles: bundles.clone() };
                async move { client.status(request).await }
            })
            .await?;
        self.seen_index = self.seen_index.max(answer.applied_index);
        Ok(answer)
    }

    /// The state of the fleet, again on each change.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn watch(&mut self, clusters: &[String], bundles: &[String]) -> Result<Streaming<StatusResponse>, Error> {
        let (clusters, bundles) = (clusters.to_vec(), bundles.to_vec());
        self.call(|mut client, min_applied_index| {
            let request = StatusRequest { min_applied_index, clusters: clusters.clone(), bundles: bundles.clone() };
            async move { client.watch(request).await }
        })
        .await
    }

    /// Why a cluster, or one bundle in it, is not at its goal.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn explain(&mut self, cluster: &str, bundle: &str) -> Result<ExplainResponse, Error> {
        self.call(|mut client, min_applied_index| {
            let request = ExplainRequest { cluster: cluster.to_owned(), bundle: bundle.to_owned(), min_applied_index };
            async move { client.explain(request).await }
        })
        .await
    }

    /// How a bundle is live in a cluster against what is bound.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn diff(&mut self, cluster: &str, bundle: &str) -> Result<DiffResponse, Error> {
        self.call(|mut client, _| {
            let request = DiffRequest { cluster: cluster.to_owned(), bundle: bundle.to_owned() };
            async move { client.diff(request).await }
        })
        .await
    }

    /// Reads one kind of thing.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn get(&mut self, what: What) -> Result<GetResponse, Error> {
        self.call(|mut client, min_applied_index| {
            let request = GetRequest { what: Some(what), min_applied_index };
            async move { client.get(request).await }
        })
        .await
    }

    /// Carries out a command. It is tried at one address after another under one request id, so it happens once.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn execute(&mut self, command: Command, reason: &str) -> Result<ExecuteResponse, Error> {
        let request_id = request_id();
        let answer = self
            .call(|mut client, _| {
                let request = ExecuteRequest {
                    request_id: request_id.clone(),
                    reason: reason.to_owned(),
                    command: Some(command.clone()),
                };
                async move { client.execute(request).await }
            })
            .await?;
        self.seen_index = self.seen_index.max(answer.applied_index);
        Ok(answer)
    }

    /// Asks one address after another until one answers, round after round while patience lasts.
    async fn call<T, F, A>(&mut self, ask: F) -> Result<T, Error>
    where
        F: Fn(ControlClient<Channel>, u64) -> A,
        A: Future<Output = Result<Response<T>, tonic::Status>>,
    {
        let begun = Instant::now();
        loop {
            let mut reasons = Vec::new();
            for address in self.addresses() {
                let client = match self.connect(&address).await {
                    Ok(client) => client,
                    Err(reason) => {
                        reasons.push(format!("{address}: {reason}"));
                        continue;
                    }
                };
                match within(ANSWER_TIMEOUT, ask(client, self.seen_index)).await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(status) if can_retry(&status) => {
                        self.connection = None;
                        reasons.push(format!("{address}: {}", chain(&status)));
                    }
                    Err(status) => return Err(Error::of_answer(&status)),
                }
            }
            if begun.elapsed() >= PATIENCE {
                let context = self.context.path.display().to_string();
                return Err(Error::Unreachable { reasons: reasons.join("; "), context });
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    /// The address that answered last comes first.
    fn addresses(&self) -> Vec<String> {
        let last = self.connection.as_ref().map(|(address, _)| address.clone());
        let others = self.context.addresses.iter().filter(|address| Some(*address) != last.as_ref()).cloned();
        last.iter().cloned().chain(others).collect()
    }

    async fn connect(&mut self, address: &str) -> Result<ControlClient<Channel>, String> {
        if let Some((connected, client)) = &self.connection
            && connected == address
        {
            return Ok(client.clone());
        }
        let channel = self.endpoint(address).map_err(|error| chain(&error))?.connect().await;
        let client = ControlClient::new(channel.map_err(|error| chain(&error))?)
            .max_decoding_message_size(limits::CONTROL_ANSWER_BYTES_MAX);
        self.connection = Some((address.to_owned(), client.clone()));
        Ok(client)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.context.ca))
            .identity(Identity::from_pem(&self.context.certificate, &self.context.key))
            .domain_name(SERVER_NAME);
        Endpoint::from_shared(format!("https://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tls_config(tls)
    }
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, tonic::Status> {
    let late = |_| Err(tonic::Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs())));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(late)
}

/// Whether another address, or the same a little later, may answer. A refused certificate arrives as a broken
/// connection too, and is then told with its reason once patience ends.
fn can_retry(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
        || (status.code() == Code::Unknown && status.source().is_some())
}

/// An error with what is behind it, without repetitions: tonic's own words say only "transport error".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let text = match error.downcast_ref::<tonic::Status>() {
            Some(status) => status.message().to_owned(),
            None => error.to_string(),
        };
        let is_said = words.iter().any(|word| word.contains(&text));
        if !is_said && !text.is_empty() && text != "transport error" {
            words.push(text);
        }
        next = error.source();
    }
    if words.is_empty() { "the connection broke".to_owned() } else { words.join(": ") }
}

/// 128 random bits, so that no two commands share an id.
fn request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_says_no_is_final() {
        assert!(can_retry(&tonic::Status::unavailable("no leader")));
        assert!(can_retry(&tonic::Status::deadline_exceeded("late")));
        for status in [
            tonic::Status::not_found("no such cluster"),
            tonic::Status::permission_denied("viewer"),
            tonic::Status::failed_precondition("nothing is held"),
            tonic::Status::unknown("a reason"),
        ] {
            assert!(!can_retry(&status), "{status}");
        }
    }

    #[test]
    fn request_ids_differ_and_fit() {
        assert_ne!(request_id(), request_id());
        assert_eq!(request_id().len(), 32);
    }
}
