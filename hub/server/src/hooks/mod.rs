//! Webhooks: a Git server says that something was pushed, and the sources that follow it are
//! looked at without waiting for their poll.
//!
//! **Invariant:** a webhook does nothing but that. What it says is never read as what lies in Git,
//! so one that is sent twice, late, or by somebody who stole it costs a fetch at most, and those
//! are spaced (`limits::HOOK_FETCH_MILLIS_MIN`).

mod decide;
mod payload;
mod repository;
mod secret;
mod tls;
mod verify;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use proto_model::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

use crate::hub::Hub;
use crate::rate::Rate;
use crate::source::Followed;
use decide::{Answer, Known, decide};
use verify::Proof;

pub use decide::Outcome;
pub use tls::Files;
pub use verify::Provider;

/// Where webhooks are sent, before the name of the server.
const PREFIX: &str = "/hooks/";

/// What serves webhooks.
struct Hooks {
    hub: Arc<Hub>,
    rate: Rate,
    /// Room for bodies that are large, until what they are about is decided.
    large: Arc<Semaphore>,
    /// Room for deciding: each secret of each source is tried on the whole body.
    deciding: Arc<Semaphore>,
    tls: Option<TlsAcceptor>,
}

/// Serves webhooks on an address until the hub stops; says which address it became. Plain HTTP
/// without `tls`: for a proxy in front.
///
/// # Errors
/// The address cannot be listened on, or the certificate cannot be read.
pub async fn serve(hub: Arc<Hub>, address: SocketAddr, tls: Option<Files>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("serve webhooks on {address}"))?;
    let bound = listener.local_addr()?;
    let tls = match tls {
        Some(files) => {
            let shown = spawn_blocking(move || tls::Shown::load(files)).await.context("read a certificate")??;
            let config = shown.config()?;
            let mut stop = hub.stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = shown.keep_fresh() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
            Some(TlsAcceptor::from(config))
        }
        None => None,
    };
    info!(address = %bound, tls = tls.is_some(), "serving webhooks");
    let rate = Rate::new(limits::HOOKS_PER_SEC_MAX, Instant::now());
    let large = Arc::new(Semaphore::new(limits::HOOKS_LARGE_MAX));
    let deciding = Arc::new(Semaphore::new(limits::HOOKS_DECIDED_AT_ONCE_MAX));
    let hooks = Hooks { hub, rate, large, deciding, tls };
    tokio::spawn(accept(Arc::new(hooks), listener));
    Ok(bound)
}

async fn accept(hooks: Arc<Hooks>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(limits::HOOK_CONNECTIONS_MAX));
    let mut stop = hooks.hub.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of file descriptors: what is open ends in a while.
                warn!(%error, "a connection for webhooks was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            hooks.count(None, Outcome::TooMany);
            continue;
        };
        let hooks = Arc::clone(&hooks);
        tokio::spawn(async move {
            let limit = Duration::from_secs(limits::HOOK_SECS_MAX);
            if timeout(limit, connection(hooks, socket)).await.is_err() {
                debug!("a connection for webhooks took too long");
            }
            drop(permit);
        });
    }
}

async fn connection(hooks: Arc<Hooks>, socket: TcpStream) {
    match hooks.tls.clone() {
        Some(acceptor) => match acceptor.accept(socket).await {
            Ok(stream) => http(hooks, stream).await,
            Err(error) => debug!(%error, "a handshake for webhooks failed"),
        },
        None => http(hooks, socket).await,
    }
}

async fn http(hooks: Arc<Hooks>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| {
        let hooks = Arc::clone(&hooks);
        async move { Ok::<_, Infallible>(respond(&hooks.answer(request).await)) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HOOK_HEADER_SECS_MAX))
        .max_buf_size(limits::HOOK_HEADER_BYTES_MAX)
        .keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "a connection for webhooks ended");
    }
}

fn respond(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.text())));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    match answer.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

impl Hooks {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let provider = request.uri().path().strip_prefix(PREFIX).and_then(Provider::of);
        let answer = match provider {
            Some(provider) => self.hook(provider, request).await.unwrap_or_else(|refusal| refusal),
            None => {
                let message = "webhooks are taken at /hooks/github, /hooks/gitlab and /hooks/gitea";
                Answer::new(StatusCode::NOT_FOUND, Outcome::Invalid, message)
            }
        };
        self.count(provider, answer.outcome);
        debug!(?provider, outcome = answer.outcome.name(), "a webhook");
        answer
    }

    fn count(&self, provider: Option<Provider>, outcome: Outcome) {
        self.hub.metrics.hook(provider.map_or("none", Provider::name), outcome.name());
    }

    /// `Err` is an answer, too: what needs no look at the body.
    async fn hook(&self, provider: Provider, request: Request<Incoming>) -> Result<Answer, Answer> {
        if request.method() != Method::POST {
            let message = "webhooks are sent with POST";
            return Err(Answer::new(StatusCode::METHOD_NOT_ALLOWED, Outcome::Invalid, message));
        }
        if is_form(request.headers()) {
            let message = "the body is a form; let the server send application/json";
            return Err(Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Outcome::Invalid, message));
        }
        // Without anything that can be a signature the body is not even read.
        if Proof::of(provider, request.headers()).is_none() {
            return Err(Answer::refused());
        }
        // Only what may be genuine counts, so that no junk keeps genuine ones out.
        if !self.rate.take(Instant::now()) {
            let message = "too many webhooks come at once; send it again";
            return Err(Answer::new(StatusCode::TOO_MANY_REQUESTS, Outcome::TooMany, message));
        }
        let (head, body) = request.into_parts();
        let limit = Duration::from_secs(limits::HOOK_BODY_SECS_MAX);
        let (body, room) = timeout(limit, self.read(body)).await.map_err(|_| {
            let message = format!("the body did not arrive within {} seconds", limits::HOOK_BODY_SECS_MAX);
            Answer::new(StatusCode::REQUEST_TIMEOUT, Outcome::TooSlow, message)
        })??;
        let followed = self.hub.pokes.all();
        let turn = Arc::clone(&self.deciding).acquire_owned().await.ok();
        let decided = spawn_blocking(move || {
            // Held by the work itself, which goes on when the connection has ended.
            let _held = (room, turn);
            let known: Vec<Known> = followed.iter().map(|one| known(one)).collect();
            let answer = decide(provider, &head.headers, &body, &known);
            followed.iter().filter(|one| answer.sources.contains(&one.name)).for_each(|one| one.poke());
            answer
        });
        decided.await.map_err(|_| {
            error!("looking at a webhook panicked: this is a defect of drover-hub");
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Invalid, "a defect of drover-hub; see its log")
        })
    }

    /// The body, and for a large one the room that it takes.
    async fn read(&self, mut body: Incoming) -> Result<(BytesMut, Option<OwnedSemaphorePermit>), Answer> {
        let too_large = || {
            let message = format!("the body is larger than {} bytes", limits::HOOK_BYTES_MAX);
            Answer::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::TooLarge, message)
        };
        if body.size_hint().lower() > limits::HOOK_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let (mut read, mut room) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Answer::new(StatusCode::BAD_REQUEST, Outcome::Invalid, "the body ended before all of it was there")
            })?;
            let Some(data) = frame.data_ref() else { continue };
            if read.len() + data.len() > limits::HOOK_BYTES_MAX {
                return Err(too_large());
            }
            read.extend_from_slice(data);
            if read.len() > limits::HOOK_SMALL_BYTES_MAX && room.is_none() {
                room = Some(Arc::clone(&self.large).try_acquire_owned().map_err(|_| {
                    let message = "other large webhooks are being read; send it again";
                    Answer::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::TooMany, message)
                })?);
            }
        }
        Ok((read, room))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
}

/// A source with the secrets that lie in its file now.
fn known(followed: &Followed) -> Known {
    let secrets = followed.hook_secret.as_deref().map_or_else(Vec::new, |path| {
        let read = secret::read(path);
        // Said once, and not for each request of a stranger.
        let is_news = followed.found(read.is_ok());
        read.unwrap_or_else(|error| {
            if is_news {
                warn!(source = followed.name, path = %path.display(), %error, "the webhook secret cannot be read");
            }
            Vec::new()
        })
    });
    let (name, url, reference) = (followed.name.clone(), followed.url.clone(), followed.reference.clone());
    Known { name, url, reference, secrets }
}
