//! Certificates: who may call what, until when, and what a revocation ends.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use hub_server::identity::{Authority, Context, Name, Role};
use proto_model::delta::{Refusal, ToHub, ToSpoke};
use proto_model::limits;
use proto_wire::control::execute_request::Command;
use proto_wire::control::{ExecuteRequest, RevokeCluster, StatusRequest};
use rcgen::KeyPair;
use serde_json::Value as Json;
use tests_tools::fleet::{Where, program};
use tests_wire::hub::{Credentials, Hub, ago, csr, issue};
use tests_wire::spoke::Spoke;
use tests_wire::until;
use tonic::{Code, Status};

fn revoke(cluster: &str) -> Command {
    Command::RevokeCluster(RevokeCluster { cluster: cluster.into() })
}

/// What the control API says to these credentials.
async fn status(hub: &Hub, credentials: Option<&Credentials>) -> Option<Code> {
    let answer = hub.control(credentials).unwrap().status(StatusRequest::default()).await;
    answer.err().map(|status| status.code())
}

/// What the sync service says to these credentials.
async fn connect(hub: &Hub, credentials: Option<&Credentials>) -> Option<Code> {
    let nothing = tokio_stream::pending();
    let answer = tests_wire::raw::connect(hub.channel(credentials).unwrap(), nothing).await;
    answer.err().map(|status| status.code())
}

/// Whether TLS itself refused: the call never reached a service.
async fn is_refused_by_tls(hub: &Hub, credentials: &Credentials) -> bool {
    let service_said = [Code::Unauthenticated, Code::PermissionDenied];
    let answers = [status(hub, Some(credentials)).await, connect(hub, Some(credentials)).await];
    answers.iter().all(|code| code.is_some_and(|code| !service_said.contains(&code)))
}

#[tokio::test]
async fn without_a_certificate_nothing_opens_but_joining() -> Result<()> {
    let hub = Hub::start()?;
    assert_eq!(status(&hub, None).await, Some(Code::Unauthenticated));
    assert_eq!(connect(&hub, None).await, Some(Code::Unauthenticated));
    Spoke::join(&hub, "a").await.map(drop)
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_by_tls() -> Result<()> {
    let hub = Hub::start()?;
    let (other, _) = Authority::create(&hub.context.hub_id, SystemTime::now())?;
    for name in [Name::Cluster("a".into()), Name::Operator { role: Role::Admin, name: "ann".into() }] {
        let stranger = issue(&other, &name, SystemTime::now())?;
        assert!(is_refused_by_tls(&hub, &stranger).await, "{name:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_another_hub_id_is_nobodys() -> Result<()> {
    let hub = Hub::start()?;
    // Signed by the very same CA, so that the name alone tells them apart.
    let other = hub.authority_of("ffffffffffffffffffffffffffffffff")?;
    for name in [Name::Cluster("a".into()), Name::Operator { role: Role::Admin, name: "ann".into() }] {
        let stranger = issue(&other, &name, SystemTime::now())?;
        assert_eq!(status(&hub, Some(&stranger)).await, Some(Code::Unauthenticated));
        assert_eq!(connect(&hub, Some(&stranger)).await, Some(Code::Unauthenticated));
    }
    Ok(())
}

#[tokio::test]
async fn operators_do_not_sync_and_clusters_do_not_command() -> Result<()> {
    let hub = Hub::start()?;
    let spoke = Spoke::join(&hub, "a").await?;
    assert_eq!(connect(&hub, Some(&hub.admin())).await, Some(Code::PermissionDenied));
    assert_eq!(status(&hub, Some(&spoke.credentials())).await, Some(Code::PermissionDenied));
    assert_eq!(status(&hub, Some(&hub.admin())).await, None);
    assert_eq!(connect(&hub, Some(&spoke.credentials())).await, None);
    Ok(())
}

#[tokio::test]
async fn a_viewer_reads_and_does_not_execute() -> Result<()> {
    let hub = Hub::start()?;
    let file = hub.fleet.dir().join("viewer.json");
    let mut operator = std::process::Command::new(program("drover-hub")?);
    operator.args(["operator", "--name", "eve", "--role", "viewer", "--dir"]).arg(hub.fleet.hub_dir());
    tests_tools::fleet::run({
        operator.arg("--context").arg(&file);
        operator
    })?;
    let context: Context = serde_json::from_slice(&std::fs::read(&file)?)?;
    let viewer = Credentials { certificate: context.certificate, key: context.key };
    assert_eq!(status(&hub, Some(&viewer)).await, None);
    let request =
        ExecuteRequest { request_id: "eve-1".into(), command: Some(revoke("a")), ..ExecuteRequest::default() };
    let refused = hub.control(Some(&viewer))?.execute(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // The program says so with an exit code of its own.
    let mut command = std::process::Command::new(program("drover")?);
    command.args(["cluster", "revoke", "a"]).env("DROVER_CONTEXT", &file);
    let output = tests_tools::process::output(command)?;
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(!hub.cluster("a").await?.revoked);
    Ok(())
}

#[tokio::test]
async fn an_expired_certificate_opens_nothing_and_renews_alone() -> Result<()> {
    let hub = Hub::start()?;
    let mut spoke = Spoke::join(&hub, "a").await?;
    let name = Name::Cluster("a".into());
    let good = spoke.certificate.clone();
    spoke.certificate = hub.sign(&spoke.key, &name, ago(limits::CERTIFICATE_SECS + 60))?;
    assert!(is_refused_by_tls(&hub, &spoke.credentials()).await);
    let admin = Name::Operator { role: Role::Admin, name: "ann".into() };
    let ended = issue(&hub.identity.authority, &admin, ago(limits::OPERATOR_CERTIFICATE_SECS + 60))?;
    assert!(is_refused_by_tls(&hub, &ended).await);

    // The enrolled key, and no other, trades it for a new one; but not for ever.
    let code = |answer: Result<_, Status>| answer.err().map(|status: Status| status.code());
    let renewed = hub.renew(&spoke.certificate, &spoke.key).await?;
    let other = KeyPair::generate()?;
    assert_eq!(code(hub.renew(&spoke.certificate, &other).await.map(drop)), Some(Code::PermissionDenied));
    let stolen = hub.sign(&other, &name, ago(limits::CERTIFICATE_SECS + 60))?;
    assert_eq!(code(hub.renew(&stolen, &other).await.map(drop)), Some(Code::PermissionDenied));
    let ancient = ago(limits::CERTIFICATE_SECS + limits::CERTIFICATE_GRACE_SECS + 60);
    let ancient = hub.sign(&spoke.key, &name, ancient)?;
    assert_eq!(code(hub.renew(&ancient, &spoke.key).await.map(drop)), Some(Code::PermissionDenied));
    spoke.certificate = String::from_utf8(renewed.certificates.to_vec())?;
    assert_ne!(spoke.certificate, good);
    let mut stream = spoke.connect(&hub).await?;
    spoke.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await
}

#[tokio::test]
async fn a_stream_ends_with_the_certificate_that_it_stands_on() -> Result<()> {
    let hub = Hub::start()?;
    let mut spoke = Spoke::join(&hub, "a").await?;
    spoke.certificate = hub.sign(&spoke.key, &Name::Cluster("a".into()), ago(limits::CERTIFICATE_SECS - 3))?;
    let mut stream = spoke.connect(&hub).await?;
    spoke.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await?;
    assert_eq!(stream.refusal().await?, Refusal::Retry);
    // Its last second is not over at the same moment for everybody who looks.
    let (hub, ended) = (&hub, spoke.credentials());
    until("the ended certificate is refused by TLS", async || Ok(is_refused_by_tls(hub, &ended).await)).await
}

#[tokio::test]
async fn a_revoked_cluster_is_cut_off_within_a_second_and_stays_so() -> Result<()> {
    let mut hub = Hub::start()?;
    let mut spoke = Spoke::join(&hub, "a").await?;
    let mut other = Spoke::join(&hub, "b").await?;
    let (mut stream, mut others) = (spoke.connect(&hub).await?, other.connect(&hub).await?);
    spoke.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await?;
    other.follow(&mut others, |spoke| !spoke.entries.is_empty()).await?;

    let begun = Instant::now();
    hub.execute(revoke("a")).await?;
    assert_eq!(stream.refusal().await?, Refusal::Revoked);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::Revoked);
    let refused = hub.renew(&spoke.certificate, &spoke.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let generation = other.hello.fence.generation;
    hub.commit("web/web.yaml", &tests_wire::hub::config_map("web", "two"))?;
    other.follow(&mut others, |spoke| spoke.hello.fence.generation > generation).await?;

    hub.restart()?;
    assert_eq!(spoke.connect(&hub).await?.refusal().await?, Refusal::Revoked);
    assert!(hub.cluster("a").await?.revoked);
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_renewed_in_the_stream_for_the_enrolled_key_alone() -> Result<()> {
    let hub = Hub::start()?;
    let (mut spoke, mut stream) = Spoke::attached(&hub, "a").await?;
    stream.say(&ToHub::Renew(csr(&spoke.key)?)).await;
    let fresh = loop {
        match stream.next().await? {
            Some(ToSpoke::Certificate(pem)) => break String::from_utf8(pem)?,
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    };
    assert_ne!(fresh, spoke.certificate);
    spoke.certificate = fresh;
    let mut second = spoke.connect(&hub).await?;
    assert_eq!(stream.refusal().await?, Refusal::Displaced);
    let before = spoke.hello.session_token.clone();
    spoke.follow(&mut second, |spoke| spoke.hello.session_token != before).await?;

    second.say(&ToHub::Renew(csr(&KeyPair::generate()?)?)).await;
    assert_eq!(second.broken().await?.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn a_real_spoke_renews_an_old_certificate_and_attaches_with_the_new_one() -> Result<()> {
    let mut hub = Hub::start()?;
    hub.fleet.join("a", Where::Memory)?;
    hub.fleet.wait_settled(&hub.head()?)?;
    hub.fleet.kill_spoke("a");
    // As if it had joined long ago: past two thirds of the life, and not at its end.
    let folder = hub.fleet.spoke_dir("a");
    let key = KeyPair::from_pem(&std::fs::read_to_string(folder.join("key.pem"))?)?;
    let file = folder.join("enrolment.json");
    let mut enrolment: Json = serde_json::from_slice(&std::fs::read(&file)?)?;
    let old = hub.sign(&key, &Name::Cluster("a".into()), ago(limits::CERTIFICATE_SECS * 9 / 10))?;
    enrolment["certificates"] = old.clone().into();
    std::fs::write(&file, serde_json::to_vec(&enrolment)?)?;

    hub.fleet.start_spoke("a")?;
    until("the spoke stands on a new certificate", async || {
        let enrolment: Json = serde_json::from_slice(&std::fs::read(&file)?)?;
        Ok(enrolment["certificates"] != old.as_str() && enrolment["next"].is_null())
    })
    .await?;
    hub.fleet.wait_settled(&hub.head()?)?;
    assert_eq!(hub.cluster("a").await?.sent_delta_bytes, 0);
    Ok(())
}
