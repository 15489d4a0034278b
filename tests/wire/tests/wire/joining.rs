//! Join tokens: what they admit, how often, until when, and to which hub alone they lead.

use anyhow::{Result, ensure};
use proto_wire::enroll::JoinResponse;
use rcgen::KeyPair;
use tests_tools::fleet::program;
use tests_tools::process::Process;
use tests_wire::hub::Hub;
use tests_wire::spoke::Spoke;
use tests_wire::until;
use tonic::{Code, Status};

fn code(answer: Result<JoinResponse, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_token_are_told_the_same() -> Result<()> {
    let hub = Hub::start()?;
    let token = hub.token("a", 1, 0).await?;
    let key = KeyPair::generate()?;
    let mut wrong = token.clone();
    wrong.secret = "guessed".into();
    let mut unknown = token.clone();
    unknown.id = "0123456789abcdef".into();
    let refusals = [hub.join(&wrong, "a", &key).await.unwrap_err(), hub.join(&unknown, "a", &key).await.unwrap_err()];
    assert_eq!(refusals[0].code(), Code::PermissionDenied);
    assert_eq!(refusals[0].message(), refusals[1].message());
    ensure!(!refusals[0].message().contains("guessed"));
    // No use of it was spent.
    hub.join(&token, "a", &key).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_admits_its_names_alone() -> Result<()> {
    let hub = Hub::start()?;
    let token = hub.token("store-*", 9, 0).await?;
    let key = KeyPair::generate()?;
    assert_eq!(code(hub.join(&token, "office-1", &key).await), Some(Code::FailedPrecondition));
    assert_eq!(code(hub.join(&token, "store-1", &key).await), None);
    let other = KeyPair::generate()?;
    let taken = hub.join(&token, "store-1", &other).await;
    assert_eq!(code(taken), Some(Code::FailedPrecondition), "a name that another key holds");
    Ok(())
}

#[tokio::test]
async fn a_token_is_used_up_but_a_repetition_costs_nothing() -> Result<()> {
    let hub = Hub::start()?;
    let token = hub.token("*", 1, 0).await?;
    let (key, other) = (KeyPair::generate()?, KeyPair::generate()?);
    let first = hub.join(&token, "a", &key).await?;
    assert_eq!(code(hub.join(&token, "b", &other).await), Some(Code::FailedPrecondition));
    let again = hub.join(&token, "a", &key).await?;
    assert_eq!(first.incarnation, again.incarnation);
    assert_eq!(code(hub.join(&token, "b", &key).await), Some(Code::FailedPrecondition), "another name is another use");
    Ok(())
}

#[tokio::test]
async fn a_token_runs_out() -> Result<()> {
    let hub = Hub::start()?;
    let token = hub.token("*", 1_000, 1).await?;
    let mut number = 0;
    until("the token has run out", async || {
        number += 1;
        let answer = hub.join(&token, &format!("late-{number}"), &KeyPair::generate()?).await;
        match code(answer) {
            None => Ok(false),
            Some(Code::FailedPrecondition | Code::PermissionDenied) => Ok(true),
            Some(other) => anyhow::bail!("refused with {other:?}"),
        }
    })
    .await
}

#[tokio::test]
async fn a_spoke_tells_a_man_in_the_middle_nothing() -> Result<()> {
    let (hub, other) = (Hub::start()?, Hub::start()?);
    let mut token = hub.token("a", 1, 0).await?;
    // The token of one hub, and another one answers at its address: a real one, with its own CA.
    let address = token.addresses.clone();
    token.addresses = vec![other.address()?.to_owned()];
    let folder = hub.fleet.dir().join("deceived");
    let log = hub.fleet.dir().join("deceived.log");
    let start = |token: String| {
        let mut command = std::process::Command::new(program("drover-spoke").unwrap());
        command.args(["--memory", "--cluster", "a", "--dir"]).arg(&folder).env("DROVER_TOKEN", token);
        Process::start("drover-spoke", command, &log)
    };
    let spoke = start(token.encode())?;
    until("the spoke refuses the stranger", async || {
        Ok(std::fs::read_to_string(&log)?.contains("no stream to the hub"))
    })
    .await?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(!text.contains(&token.secret), "a secret in the log");
    ensure!(!folder.join("enrolment.json").exists());
    drop(spoke);
    // With the true address the same token still works: its secret was told to nobody.
    token.addresses = address;
    let _spoke = start(token.encode())?;
    until("the spoke joins", async || Ok(folder.join("enrolment.json").exists())).await?;
    hub.status_until(|status| status.clusters.iter().any(|one| one.cluster == "a" && one.connected)).await?;
    Ok(())
}

#[tokio::test]
async fn joining_again_after_a_lost_answer_leaves_one_cluster() -> Result<()> {
    let hub = Hub::start()?;
    let token = hub.token("a", 1, 0).await?;
    let key = KeyPair::generate()?;
    for _ in 0..3 {
        hub.join(&token, "a", &key).await?;
    }
    let known = hub.cluster("a").await?;
    assert_eq!(known.incarnation, 1);
    let mut later = Spoke::join(&hub, "b").await?;
    let mut stream = later.connect(&hub).await?;
    later.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await
}
