//! A hub as spokes and operators meet it, over real TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, SystemTime};

use common::{World, csr};
use hub_server::identity::{self, Authority, Name};
use proto_model::ask::{Answer, BundleDiff, Change, FieldDiff, ObjectDiff};
use proto_model::delta::{Refusal, ToHub, ToSpoke};
use proto_model::{GroupKind, Identity, limits};
use proto_wire::control::control_client::ControlClient;
use proto_wire::control::execute_request::Command as Operator;
use proto_wire::control::{
    ApproveDeletions, ApproveRewind, DiffRequest, ExplainRequest, ReplaceCluster, RevokeCluster, StatusRequest,
};
use proto_wire::enroll::RenewRequest;
use proto_wire::enroll::enroll_client::EnrollClient;
use rcgen::KeyPair;
use tonic::Code;

const CLUSTERS: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: a, labels: {tier: edge}}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: web}
spec:
  path: web
  namespace: shop
  targets: [{name: all, selector: {}}]
";

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value}}}\n")
}

async fn world() -> World {
    let web = config_map("web", "one");
    World::start(&[("drover.yaml", CLUSTERS), ("web/web.yaml", &web)]).await
}

fn is_settled(status: &proto_wire::control::StatusResponse, commit: &str) -> bool {
    status.clusters.iter().any(|cluster| {
        cluster.connected
            && cluster
                .bundles
                .iter()
                .any(|bundle| bundle.commit == commit && bundle.sync == "Applied" && bundle.health == "Healthy")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_reaches_a_spoke_and_a_restart_sends_nothing_again() {
    let mut world = world().await;
    let commit = common::git(&world.repo(), &["rev-parse", "HEAD"]);
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| spoke.reports.len() == 1).await;
    assert_eq!(spoke.bodies.len(), 2, "a variant and its object");
    let status = world.status_until(|status| is_settled(status, &commit)).await;
    let cluster = &status.clusters[0];
    assert!(cluster.sent_delta_bytes > 0 && cluster.acked_generation == cluster.generation);

    // A second commit costs what differs.
    let next = world.commit(&[("web/web.yaml", &config_map("web", "two"))]);
    let before = spoke.bodies.len();
    spoke.follow(&mut stream, |spoke| spoke.bodies.len() == before + 2).await;
    let generation = spoke.fence.generation;
    spoke.follow(&mut stream, |spoke| spoke.fence.generation >= generation).await;
    world.status_until(|status| is_settled(status, &next)).await;

    world.stop().await;
    stream.moved().await;
    world.boot().await;
    let mut stream = spoke.connect(&world).await.unwrap();
    let had = spoke.session_token.clone();
    spoke.follow(&mut stream, |spoke| spoke.session_token != had).await;
    let status = world.status_until(|status| is_settled(status, &next)).await;
    assert_eq!(status.clusters[0].sent_delta_bytes, 0);
    assert_eq!(status.clusters[0].generation, spoke.fence.generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_asks_for_its_own_certificate() {
    let world = world().await;
    let mut spoke = world.spoke("a").await;
    let key = spoke.key.serialize_pem();
    let status = |identity: Option<(&str, &str)>| {
        let mut client = ControlClient::new(world.channel(identity));
        async move { client.status(StatusRequest::default()).await.map_err(|error| error.code()) }
    };
    assert_eq!(status(None).await.err(), Some(Code::Unauthenticated));
    let cluster = Some((spoke.certificate.as_str(), key.as_str()));
    assert_eq!(status(cluster).await.err(), Some(Code::PermissionDenied));
    assert!(spoke.connect(&world).await.is_ok());

    // The same name, signed by another CA.
    let hub_id = world.context.hub_id.clone();
    let (other, _) = Authority::create(&hub_id, SystemTime::now()).unwrap();
    let (certificate, key) = other.issue(&Name::Cluster("a".into()), SystemTime::now()).unwrap();
    spoke.certificate = certificate;
    spoke.key = KeyPair::from_pem(&key).unwrap();
    assert!(spoke.connect(&world).await.is_err());

    // An operator is no cluster.
    spoke.certificate = world.context.certificate.clone();
    spoke.key = KeyPair::from_pem(&world.context.key).unwrap();
    let refused = spoke.connect(&world).await.err().map(|error| error.code());
    assert_eq!(refused, Some(Code::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_reads_and_does_not_command() {
    let world = world().await;
    let path = world.temp.path().join("viewer.json");
    let now = SystemTime::now();
    identity::operator(&world.hub_dir(), "eve", identity::Role::Viewer, &path, now).unwrap();
    let viewer: identity::Context = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut client = ControlClient::new(world.channel(Some((&viewer.certificate, &viewer.key))));
    assert!(client.status(StatusRequest::default()).await.is_ok());
    let request = proto_wire::control::ExecuteRequest {
        request_id: "r".into(),
        command: Some(Operator::RevokeCluster(RevokeCluster { cluster: "a".into() })),
        ..Default::default()
    };
    let refused = client.execute(request).await.err().map(|error| error.code());
    assert_eq!(refused, Some(Code::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_admits_its_names_once_per_key() {
    let world = world().await;
    let token = world.token("one", "a*").await;
    assert_eq!(world.token("one", "a*").await, token, "a repeated request gives the same token");
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let code = |joined: Result<_, tonic::Status>| joined.map(|_| ()).map_err(|error| error.code());

    let first = world.join(&token, "a", &key).await.unwrap();
    assert_eq!(first.hub_id, world.context.hub_id);
    assert!(world.join(&token, "a", &key).await.is_ok(), "idempotent per token and key");
    let held = code(world.join(&token, "a", &other).await);
    assert_eq!(held, Err(Code::FailedPrecondition), "the name is held by another key");
    let foreign = code(world.join(&token, "b", &other).await);
    assert_eq!(foreign, Err(Code::FailedPrecondition), "the token does not admit the name");
    let mut wrong = token.clone();
    wrong.secret = "guess".into();
    assert_eq!(code(world.join(&wrong, "a2", &other).await), Err(Code::PermissionDenied));

    // Renewal proves the enrolled key.
    let client = EnrollClient::new(world.channel(None));
    let renew = |key: &KeyPair| {
        let request = RenewRequest { certificate: first.certificates.clone(), csr: csr(key).into() };
        let mut client = client.clone();
        async move { client.renew(request).await.map(|_| ()).map_err(|error| error.code()) }
    };
    assert_eq!(renew(&key).await, Ok(()));
    assert_eq!(renew(&other).await, Err(Code::PermissionDenied));
    let revoke = Operator::RevokeCluster(RevokeCluster { cluster: "a".into() });
    world.execute("revoke", revoke).await.unwrap();
    assert_eq!(renew(&key).await, Err(Code::PermissionDenied), "not after a revocation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_stream_ends_within_a_second() {
    let world = world().await;
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;
    let revoke = Operator::RevokeCluster(RevokeCluster { cluster: "a".into() });
    world.execute("revoke", revoke).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(1), stream.refusal()).await;
    assert_eq!(ended.unwrap(), Refusal::Revoked);
    let mut again = spoke.connect(&world).await.unwrap();
    assert_eq!(again.refusal().await, Refusal::Revoked);
    let unknown = Operator::RevokeCluster(RevokeCluster { cluster: "nobody".into() });
    let error = world.execute("another", unknown).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("nobody") && error.message().contains("drover cluster list"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_stream_takes_over_and_an_old_token_is_a_duplicate() {
    let world = world().await;
    let mut spoke = world.spoke("a").await;
    let mut first = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut first, |spoke| !spoke.reports.is_empty()).await;
    let old = spoke.session_token.clone();
    let mut second = spoke.connect(&world).await.unwrap();
    assert_eq!(first.refusal().await, Refusal::Displaced);
    spoke.follow(&mut second, |spoke| spoke.session_token != old).await;
    // It speaks in the new session, so it has the new token.
    let root =
        proto_model::assign::root(&spoke.entries.iter().map(|(name, one)| (name.clone(), one.digest())).collect());
    second.say(&ToHub::Ack { generation: 0, root }).await;
    for report in spoke.reports.values_mut() {
        report.drifted = true;
        second.say(&ToHub::Report(report.clone())).await;
    }
    world.status_until(|status| status.clusters[0].bundles.iter().any(|bundle| bundle.drifted)).await;

    spoke.session_token = old;
    let mut clone = spoke.connect(&world).await.unwrap();
    assert_eq!(clone.refusal().await, Refusal::DuplicateIdentity);
    // Nobody is served under the name until an operator says who it is.
    assert_eq!(second.refusal().await, Refusal::DuplicateIdentity);
    let replace = Operator::ReplaceCluster(ReplaceCluster { cluster: "a".into() });
    world.execute("replace", replace).await.unwrap();
    let mut fresh = world.spoke("a").await;
    let mut stream = fresh.connect(&world).await.unwrap();
    fresh.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_repository_is_held_until_it_is_approved() {
    let world = world().await;
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;

    let bundle_gone = CLUSTERS.split("---").next().unwrap();
    world.commit(&[("drover.yaml", bundle_gone), ("web/web.yaml", "")]);
    let held = |status: &proto_wire::control::StatusResponse| {
        let bundle = status.clusters[0].bundles.first();
        bundle.and_then(|one| one.hold.as_ref()).is_some_and(|hold| hold.kind == "guard")
    };
    world.status_until(held).await;
    let request = ExplainRequest { cluster: "a".into(), ..Default::default() };
    let explained = world.admin().explain(request).await.unwrap().into_inner();
    let hold = explained.cluster.unwrap().bundles[0].hold.clone().unwrap();
    assert_eq!(hold.objects, ["ConfigMap shop/web"]);

    let approve = |id: &'static str, goal: &'static [u8]| {
        let command = ApproveDeletions { bundle: "main/web".into(), goal: goal.into() };
        world.execute(id, Operator::ApproveDeletions(command))
    };
    assert_eq!(approve("1", b"other").await.unwrap_err().code(), Code::FailedPrecondition);
    let done = approve("2", b"").await.unwrap();
    spoke.follow(&mut stream, |spoke| spoke.entries.is_empty()).await;
    world.status_until(|status| status.clusters[0].bundles.is_empty()).await;
    assert_eq!(approve("2", b"").await.unwrap().message, done.message, "done once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diff_is_asked_of_the_spoke_once_for_all_who_want_it() {
    let world = world().await;
    let diff = |cluster: &'static str, bundle: &'static str| {
        let mut admin = world.admin();
        async move { admin.diff(DiffRequest { cluster: cluster.into(), bundle: bundle.into() }).await }
    };
    assert_eq!(diff("b", "main/web").await.unwrap_err().code(), Code::NotFound);
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;
    assert_eq!(diff("a", "main/other").await.unwrap_err().code(), Code::NotFound);

    let object = Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: "web".into() };
    let fields = vec![FieldDiff { pointer: "/data/key".into(), live: Some("\"x\"".into()), bound: None }];
    let objects = vec![ObjectDiff { object, change: Change::Fields { fields, more: 3 } }];
    let found = BundleDiff { generation: 1, variant: None, objects, same: 2, unseen: 0 };
    let answers = async {
        let ToSpoke::Ask { id, bundle } = stream.next().await else { panic!("an ask") };
        assert_eq!(bundle, "main/web");
        // Whoever asks for the same meanwhile is answered with it; an answer to nothing does no harm.
        let second = tokio::spawn(diff("a", "main/web"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.say(&ToHub::Answer(Answer { id: id + 7, outcome: Err("not this one".into()) })).await;
        stream.say(&ToHub::Answer(Answer { id, outcome: Ok(found) })).await;
        second.await.unwrap().unwrap().into_inner()
    };
    let (first, second) = tokio::join!(diff("a", "main/web"), answers);
    let first = first.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!((first.same, first.objects[0].object.as_str()), (2, "ConfigMap shop/web"));
    assert_eq!((first.objects[0].fields[0].live.as_deref(), first.objects[0].fields_more), (Some("\"x\""), 3));

    let refuses = async {
        let ToSpoke::Ask { id, .. } = stream.next().await else { panic!("an ask") };
        stream.say(&ToHub::Answer(Answer { id, outcome: Err("it may not".into()) })).await;
    };
    let (refused, ()) = tokio::join!(diff("a", "main/web"), refuses);
    assert!(refused.unwrap_err().message().contains("refuses: it may not"));
    // One that goes away answers nothing any more, and one that is away is not asked.
    let goes = async {
        let ToSpoke::Ask { .. } = stream.next().await else { panic!("an ask") };
        drop(stream);
    };
    let (gone, ()) = tokio::join!(diff("a", "main/web"), goes);
    assert_eq!(gone.unwrap_err().code(), Code::Aborted);
    world.status_until(|status| !status.clusters[0].connected).await;
    let away = diff("a", "main/web").await.unwrap_err();
    assert!(away.code() == Code::FailedPrecondition && away.message().contains("not connected"), "{away}");
    // One from before asks would break its stream over one: it is never sent any.
    spoke.asks = 0;
    let mut stream = spoke.connect(&world).await.unwrap();
    world.status_until(|status| status.clusters[0].connected).await;
    let old = diff("a", "main/web").await.unwrap_err();
    assert!(old.code() == Code::FailedPrecondition && old.message().contains("too old to be asked"), "{old}");
    world.commit(&[("web/web.yaml", &config_map("web", "two"))]);
    let before = spoke.fence.generation;
    spoke.follow(&mut stream, |spoke| spoke.fence.generation > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_waits_for_its_approval() {
    let world = world().await;
    let first = common::git(&world.repo(), &["rev-parse", "HEAD"]);
    let second = world.commit(&[("web/web.yaml", &config_map("web", "two"))]);
    world.status_until(|status| status.sources[0].commit == second).await;
    common::git(&world.repo(), &["reset", "-q", "--hard", &first]);
    let status = world.status_until(|status| !status.sources[0].rewind_commit.is_empty()).await;
    assert_eq!(status.sources[0].rewind_commit, first);
    assert_eq!(status.sources[0].commit, second, "the accepted head stays");
    let approve = ApproveRewind { source: "main".into(), head: first.clone() };
    world.execute("rewind", Operator::ApproveRewind(approve)).await.unwrap();
    world.status_until(|status| status.sources[0].commit == first).await;
}

/// One object under many names: kilobytes in Git, and gigabytes where each is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declarations_of_more_than_fits_are_defects_with_their_files() {
    let world = world().await;
    let spaces = " ".repeat(limits::DECLARATION_BYTES_MAX);
    let paths: Vec<String> =
        (0..limits::DECLARATIONS_BYTES_MAX / spaces.len()).map(|n| format!("x{n:03}/drover.yaml")).collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (&**path, &*spaces)).collect();
    let commit = world.commit(&files);
    let status = world.status_until(|status| status.sources[0].commit == commit).await;
    let said: Vec<&str> = status.sources[0].defects.iter().map(|defect| &*defect.file).collect();
    // Those of the fleet itself are small and come first, so that the last one has no room.
    assert_eq!(said, [&**paths.last().unwrap()], "{:?}", status.sources[0].defects);
    assert!(status.sources[0].defects[0].message.contains("together"), "{:?}", status.sources[0].defects);
}

/// Here the history ends before it shows; elsewhere it is too long, or too large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_whose_history_is_not_known_waits_as_a_rewind() {
    let world = world().await;
    let other = world.temp.path().join("other");
    common::git(&other, &["clone", "-q", &world.repo().to_string_lossy(), "."]);
    common::git(&other, &["checkout", "-q", "--orphan", "again"]);
    common::git(&other, &["commit", "-q", "-m", "one"]);
    common::git(&other, &["commit", "-q", "--allow-empty", "-m", "two"]);
    let head = common::git(&other, &["rev-parse", "HEAD"]);
    let url = format!("file://{}", other.display());
    common::git(&world.repo(), &["fetch", "-q", "--depth", "1", &url, "again"]);
    common::git(&world.repo(), &["reset", "-q", "--hard", "FETCH_HEAD"]);
    world.status_until(|status| status.sources[0].rewind_commit == head).await;
    let approve = ApproveRewind { source: "main".into(), head: head.clone() };
    world.execute("rewind", Operator::ApproveRewind(approve)).await.unwrap();
    world.status_until(|status| status.sources[0].commit == head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_commit_never_replaces_a_good_one() {
    let world = world().await;
    let good = common::git(&world.repo(), &["rev-parse", "HEAD"]);
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;
    world.status_until(|status| is_settled(status, &good)).await;
    let bad = world.commit(&[("web/web.yaml", "apiVersion: v1\nkind: ConfigMap\n")]);
    let status = world.status_until(|status| status.sources[0].commit == bad).await;
    let defect = &status.sources[0].defects[0];
    assert_eq!((defect.file.as_str(), defect.bundle.as_str()), ("web/web.yaml", "main/web"));
    assert_eq!(status.clusters[0].bundles[0].sync, "Applied");
    assert_eq!(status.clusters[0].generation, spoke.fence.generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_is_for_operators_and_health_for_all() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let world = world().await;
    let list = |identity: Option<(&str, &str)>| {
        let mut client = ServerReflectionClient::new(world.channel(identity));
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        async move {
            let mut answers = client
                .server_reflection_info(tokio_stream::once(ask))
                .await
                .map_err(|error| error.code())?
                .into_inner();
            match answers.message().await.unwrap().unwrap().message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    Ok(list.service.into_iter().map(|one| one.name).collect::<Vec<_>>())
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(list(None).await, Err(Code::Unauthenticated));
    let admin = Some((world.context.certificate.as_str(), world.context.key.as_str()));
    let services = list(admin).await.unwrap();
    assert!(services.contains(&"drover.control.v1.Control".to_owned()), "{services:?}");

    let ask = HealthCheckRequest { service: "drover.control.v1.Control".into() };
    let answer = HealthClient::new(world.channel(None)).check(ask).await.unwrap().into_inner();
    assert_eq!(answer.status, 1, "serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_directory_meets_its_spokes_and_plans_nothing() {
    let mut world = world().await;
    let mut spoke = world.spoke("a").await;
    let mut stream = spoke.connect(&world).await.unwrap();
    spoke.follow(&mut stream, |spoke| !spoke.reports.is_empty()).await;
    world.stop().await;
    let hub = world.hub_dir().root().to_path_buf();
    let copy = world.temp.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([&hub, &copy]).status().unwrap();
    assert!(copied.success());

    world.boot().await;
    let mut stream = spoke.connect(&world).await.unwrap();
    let generation = spoke.fence.generation;
    world.commit(&[("web/web.yaml", &config_map("web", "two"))]);
    spoke.follow(&mut stream, |spoke| spoke.fence.generation > generation).await;
    world.stop().await;

    // The older copy comes back, and Git is where it was when the copy was made.
    std::fs::remove_dir_all(&hub).unwrap();
    std::fs::rename(&copy, &hub).unwrap();
    common::git(&world.repo(), &["reset", "-q", "--hard", "HEAD~1"]);
    world.boot().await;
    // The token is newer than any that this directory knows of, but the fence tells what happened.
    let mut stream = spoke.connect(&world).await.unwrap();
    assert_eq!(stream.refusal().await, Refusal::ForeignFence);
    assert!(world.status().await.clusters[0].hold.contains("not connected"), "not quarantined");
    let next = world.commit(&[("web/web.yaml", &config_map("web", "three"))]);
    world.status_until(|status| status.sources[0].commit == next).await;
    assert_eq!(world.running().hub().metrics.planning_stopped.get(), 1);
    assert_eq!(world.status().await.clusters[0].generation, generation);
}
