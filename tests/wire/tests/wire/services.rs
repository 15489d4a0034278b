//! What general tools need: reflection for those with an operator's certificate, health for all.

use anyhow::{Context as _, Result};
use tests_wire::hub::{Credentials, Hub};
use tests_wire::spoke::Spoke;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const SERVICES: [&str; 3] = ["drover.control.v1.Control", "drover.enroll.v1.Enroll", "drover.sync.v1.Sync"];

async fn reflect(hub: &Hub, credentials: Option<&Credentials>, ask: MessageRequest) -> Result<MessageResponse, Status> {
    let mut client = ServerReflectionClient::new(hub.channel(credentials).unwrap());
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await?.into_inner();
    let answer = answers.message().await?.ok_or_else(|| Status::internal("no answer"))?;
    answer.message_response.ok_or_else(|| Status::internal("an empty answer"))
}

#[tokio::test]
async fn reflection_answers_operators_alone() -> Result<()> {
    let hub = Hub::start()?;
    let list = || MessageRequest::ListServices(String::new());
    let MessageResponse::ListServicesResponse(services) = reflect(&hub, Some(&hub.admin()), list()).await? else {
        panic!("another answer");
    };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    for service in SERVICES {
        assert!(names.contains(&service), "{service} in {names:?}");
        // As grpcurl asks before it calls.
        let ask = MessageRequest::FileContainingSymbol(service.into());
        let answer = reflect(&hub, Some(&hub.admin()), ask).await?;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{service}");
    }
    let spoke = Spoke::join(&hub, "a").await?;
    let refused = |answer: Result<MessageResponse, Status>| answer.err().map(|status| status.code());
    assert_eq!(refused(reflect(&hub, None, list()).await), Some(Code::Unauthenticated));
    assert_eq!(refused(reflect(&hub, Some(&spoke.credentials()), list()).await), Some(Code::PermissionDenied));
    Ok(())
}

#[tokio::test]
async fn health_says_serving_for_each_service() -> Result<()> {
    let hub = Hub::start()?;
    for credentials in [Some(hub.admin()), None] {
        let mut client = HealthClient::new(hub.channel(credentials.as_ref())?);
        for service in SERVICES.into_iter().chain([""]) {
            let ask = HealthCheckRequest { service: service.into() };
            let answer = client.check(ask).await.with_context(|| format!("health of {service:?}"))?;
            assert_eq!(answer.into_inner().status, 1, "{service:?} serves");
        }
    }
    Ok(())
}
