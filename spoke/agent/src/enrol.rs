//! Joining a hub, and renewing what has ended.

use proto_model::token::JoinToken;
use proto_model::{Digest, limits};
use proto_wire::enroll::enroll_client::EnrollClient;
use proto_wire::enroll::{JoinRequest, JoinResponse, RenewRequest};
use tonic::Status;
use tonic::transport::Channel;

use crate::channel::{chain, connect};
use crate::dir::DirError;
use crate::enrolment::{Enrolment, Identity, Validity, certificates};
use crate::tls;

/// Why joining or renewing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// The hub cannot be reached, or is not the one of the token.
    #[error("{address}: {}", chain(.source))]
    Connect { address: String, source: tonic::transport::Error },
    /// The hub refused.
    #[error("the hub refuses: {}", .0.message())]
    Refused(Status),
    /// The hub's answer cannot be used.
    #[error("the hub's answer cannot be used: {0}")]
    Answer(&'static str),
    /// The roots or the own certificate cannot be used.
    #[error("the stored certificates cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The directory.
    #[error(transparent)]
    Dir(#[from] DirError),
}

/// Joins at one address: trades the token for a certificate of the spoke's own key. Joining again
/// with the same token and key gives another certificate for them.
pub(crate) async fn join(identity: &mut Identity, token: &JoinToken, address: &str) -> Result<(), EnrolError> {
    let request = JoinRequest {
        token_id: token.id.clone(),
        secret: token.secret.clone(),
        cluster: identity.cluster().to_owned(),
        csr: identity.request().map_err(DirError::from)?.into(),
    };
    let mut client = client(address, tls::joining(token.ca)?).await?;
    let answer = client.join(request).await.map_err(EnrolError::Refused)?.into_inner();
    let answer = check(identity, &answer)?;
    if !certificates(&answer.roots).iter().any(|root| Digest::of(root) == token.ca) {
        return Err(EnrolError::Answer("its roots do not hold the CA of the token"));
    }
    identity.save(Enrolment {
        cluster: identity.cluster().to_owned(),
        addresses: token.addresses.clone(),
        token_id: token.id.clone(),
        ..answer
    })?;
    Ok(())
}

/// Renews a certificate that has ended, by proof of its key.
pub(crate) async fn renew(identity: &mut Identity, address: &str) -> Result<(), EnrolError> {
    let Some(held) = identity.enrolment().cloned() else {
        return Err(EnrolError::Answer("there is no certificate to renew"));
    };
    let request = RenewRequest {
        certificate: held.next.as_ref().unwrap_or(&held.certificates).clone().into(),
        csr: identity.request().map_err(DirError::from)?.into(),
    };
    let mut client = client(address, tls::enrolled(&held.roots, None)?).await?;
    let answer = client.renew(request).await.map_err(EnrolError::Refused)?.into_inner();
    let answer = check(identity, &answer)?;
    if answer.hub_id != held.hub_id {
        return Err(EnrolError::Answer("it is from another hub"));
    }
    let Enrolment { certificates, roots, incarnation, .. } = answer;
    identity.save(Enrolment { certificates, roots, incarnation, next: None, ..held })?;
    Ok(())
}

type Client = EnrollClient<Channel>;

async fn client(address: &str, tls: std::sync::Arc<rustls::ClientConfig>) -> Result<Client, EnrolError> {
    let channel = connect(address, tls).await;
    let channel = channel.map_err(|source| EnrolError::Connect { address: address.to_owned(), source })?;
    Ok(EnrollClient::new(channel).max_decoding_message_size(limits::CONTROL_MESSAGE_BYTES_MAX))
}

// What of an answer can be used without knowing what was asked; the rest of the enrolment is empty.
fn check(identity: &Identity, answer: &JoinResponse) -> Result<Enrolment, EnrolError> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_default();
    let (chain, roots) = (text(&answer.certificates), text(&answer.roots));
    if !identity.owns(&chain) || Validity::of(&chain).is_none() {
        return Err(EnrolError::Answer("its certificate is not for this spoke's key"));
    }
    if certificates(&roots).is_empty() {
        return Err(EnrolError::Answer("it has no CA"));
    }
    if answer.hub_id.is_empty() {
        return Err(EnrolError::Answer("it has no hub id"));
    }
    Ok(Enrolment {
        cluster: String::new(),
        hub_id: answer.hub_id.clone(),
        incarnation: answer.incarnation,
        addresses: Vec::new(),
        certificates: chain,
        next: None,
        roots,
        token_id: String::new(),
    })
}
