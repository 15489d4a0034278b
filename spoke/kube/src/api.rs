//! Requests to an API server: a limit to how many run, a limit to how long each takes, and a
//! limit to what is read of an answer.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use proto_model::limits;
use proto_model::variant::ServiceAccount;
use serde_json::Value as Json;
use spoke_core::port::{Failure, Reason};
use tokio::sync::Semaphore;

use crate::failure::{Error, Refusal, of_client, plain, unreachable};

/// Server-side apply.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
/// A JSON merge patch.
pub(crate) const MERGE: &str = "application/merge-patch+json";
/// Everything else.
pub(crate) const JSON: &str = "application/json";
/// Asks for metadata alone.
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Asks for all kinds of all groups in one answer.
pub(crate) const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A client of one API server.
pub(crate) struct Api {
    client: Client,
    permits: Arc<Semaphore>,
    /// Whom requests are made as, where that is not the client itself.
    user: Option<HeaderValue>,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    /// Content type and body.
    pub(crate) body: Option<(&'static str, &'a Json)>,
}

impl<'a> Call<'a> {
    /// A GET.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), accept: JSON, body: None }
    }

    /// Any other.
    pub(crate) fn with(method: Method, path: String, content: &'static str, body: &'a Json) -> Self {
        Self { method, path, accept: JSON, body: Some((content, body)) }
    }
}

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, permits: Arc::new(Semaphore::new(limits::API_REQUESTS_MAX)), user: None }
    }

    /// The same, whose requests wait for no others: for what must be in time whatever the rest of the cluster is busy
    /// with.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.client.clone())
    }

    /// The same, making its requests as a service account: with its rights, and seen so in audit logs.
    ///
    /// # Errors
    /// Its name has characters that no header has.
    pub(crate) fn acting_as(&self, account: &ServiceAccount) -> Result<Self, Failure> {
        let ServiceAccount { namespace, name } = account;
        let user = HeaderValue::try_from(format!("system:serviceaccount:{namespace}:{name}"))
            .map_err(|_| plain(Reason::Invalid, format!("{namespace:?}/{name:?} is no service account")))?;
        Ok(Self { client: self.client.clone(), permits: Arc::clone(&self.permits), user: Some(user) })
    }

    /// The client itself, for watches.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Makes a request and reads its answer. The wait for its turn counts within its time.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Json, Error> {
        let request = request(&call, self.user.as_ref())?;
        let time = Duration::from_secs(limits::API_REQUEST_SECS_MAX);
        let mut has_turn = false;
        let answer = async {
            let _permit = self.permits.acquire().await.map_err(|closed| unreachable(&closed))?;
            has_turn = true;
            self.answer(request).await
        };
        match tokio::time::timeout(time, answer).await {
            Ok(answer) => answer,
            Err(_) if has_turn => Err(unreachable(&format_args!("no answer within {} s", time.as_secs()))),
            Err(_) => Err(unreachable(&format_args!("others before it had none for {} s", time.as_secs()))),
        }
    }

    async fn answer(&self, request: Request<Body>) -> Result<Json, Error> {
        let response = self.client.send(request).await.map_err(|error| of_client(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limits::API_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unreachable(&format_args!("reading its answer: {error}")))?.to_bytes();
        if head.status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                // The position says nothing of the content.
                let at = format!("line {} column {}", error.line(), error.column());
                Error::Failed(plain(Reason::Server, format!("the API server's answer is no JSON at {at}")))
            });
        }
        let retry_after = head.headers.get(header::RETRY_AFTER);
        Err(Error::Refused(Refusal {
            code: head.status.as_u16(),
            status: serde_json::from_slice(&body).unwrap_or_default(),
            retry_after_secs: retry_after.and_then(|secs| secs.to_str().ok()?.parse().ok()),
        }))
    }
}

fn request(call: &Call<'_>, user: Option<&HeaderValue>) -> Result<Request<Body>, Error> {
    let mut request = Request::builder().method(&call.method).uri(&call.path).header(header::ACCEPT, call.accept);
    if let Some(user) = user {
        request = request.header("Impersonate-User", user);
    }
    let body = match call.body {
        Some((content, json)) => {
            request = request.header(header::CONTENT_TYPE, content);
            json.to_string().into_bytes()
        }
        None => Vec::new(),
    };
    request
        .body(Body::from(body))
        .map_err(|error| Error::Failed(plain(Reason::Invalid, format!("no request can be made of it: {error}"))))
}

/// A text as a part of a path or query.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An API server that never answers a PATCH, and everything else at once.
    pub(crate) fn hangs_at_patches() -> Client {
        let answer = |request: Request<Body>| async move {
            if request.method() == Method::PATCH {
                std::future::pending::<()>().await;
            }
            let found = serde_json::json!({"metadata": {"name": "x", "resourceVersion": "1"}, "spec": {}});
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(found.to_string().into_bytes())))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_turn_does_not_come_ends_in_its_time() {
        let api = Api::new(hangs_at_patches());
        let body = Json::Null;
        let hangs = || api.call(Call::with(Method::PATCH, "/x".into(), APPLY, &body));
        let start = tokio::time::Instant::now();
        let all = futures::future::join_all((0..=limits::API_REQUESTS_MAX).map(|_| hangs())).await;
        assert_eq!(start.elapsed().as_secs(), limits::API_REQUEST_SECS_MAX);
        assert!(all.iter().all(Result::is_err));
    }

    #[test]
    fn names_can_t_leave_their_place_in_a_path() {
        assert_eq!(escaped("system:a/b?c"), "system%3Aa%2Fb%3Fc");
    }
}
