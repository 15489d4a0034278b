//! Reports: what a spoke says happened.

use proto_model::name::check_full_bundle;
use proto_model::{Health, Identity, ObjectProblem, Report, Sync, limits};

use super::{WireError, at_most, digest, digest_bytes, optional_bytes, optional_digest, required, some_text};
use crate::sync as msg;

impl From<&Report> for msg::Report {
    fn from(report: &Report) -> Self {
        Self {
            bundle: report.bundle.clone(),
            generation: report.generation,
            variant: optional_bytes(report.variant.as_ref()),
            variables: digest_bytes(&report.variables),
            sync: write_sync(report.sync).into(),
            health: write_health(report.health).into(),
            drifted: report.drifted,
            suspended: report.suspended,
            installed: report.installed,
            objects: report.objects,
            problems: report.problems.iter().map(write_problem).collect(),
            problems_more: report.problems_more,
            since_unix_millis: report.since_unix_millis,
        }
    }
}

impl TryFrom<msg::Report> for Report {
    type Error = WireError;

    fn try_from(report: msg::Report) -> Result<Self, WireError> {
        check_full_bundle(&report.bundle)?;
        at_most("report.problems", report.problems.len(), limits::PROBLEMS_PER_REPORT_MAX)?;
        Ok(Self {
            bundle: report.bundle,
            generation: report.generation,
            variant: optional_digest("report.variant", &report.variant)?,
            variables: digest("report.variables", &report.variables)?,
            sync: read_sync(report.sync)?,
            health: read_health(report.health)?,
            drifted: report.drifted,
            suspended: report.suspended,
            installed: report.installed,
            objects: report.objects,
            problems: report.problems.into_iter().map(read_problem).collect::<Result<_, _>>()?,
            problems_more: report.problems_more,
            since_unix_millis: report.since_unix_millis,
        })
    }
}

fn write_problem(problem: &ObjectProblem) -> msg::Problem {
    msg::Problem {
        object: problem.object.as_ref().map(write_identity),
        r#final: problem.is_final,
        message: problem.message.clone(),
    }
}

fn read_problem(problem: msg::Problem) -> Result<ObjectProblem, WireError> {
    let message = some_text("problem.message", problem.message, limits::PROBLEM_BYTES_MAX)?;
    Ok(ObjectProblem { object: problem.object.map(read_identity).transpose()?, is_final: problem.r#final, message })
}

pub(super) fn write_identity(identity: &Identity) -> msg::Identity {
    msg::Identity {
        kind: Some((&identity.kind).into()),
        namespace: identity.namespace.clone(),
        name: identity.name.clone(),
    }
}

pub(super) fn read_identity(identity: msg::Identity) -> Result<Identity, WireError> {
    if identity.name.is_empty() {
        return Err(WireError::Missing("identity.name"));
    }
    Ok(Identity {
        kind: required("identity.kind", identity.kind)?.try_into()?,
        namespace: identity.namespace,
        name: identity.name,
    })
}

fn write_sync(sync: Sync) -> msg::SyncState {
    match sync {
        Sync::Pending => msg::SyncState::Pending,
        Sync::Applying => msg::SyncState::Applying,
        Sync::Applied => msg::SyncState::Applied,
        Sync::Waiting => msg::SyncState::Waiting,
        Sync::Failed => msg::SyncState::Failed,
        Sync::Removing => msg::SyncState::Removing,
    }
}

fn read_sync(number: i32) -> Result<Sync, WireError> {
    let known = Sync::ALL.iter().find(|word| i32::from(write_sync(**word)) == number);
    known.copied().ok_or(unknown("report.sync", number))
}

fn write_health(health: Health) -> msg::Health {
    match health {
        Health::Progressing => msg::Health::Progressing,
        Health::Healthy => msg::Health::Healthy,
        Health::Degraded => msg::Health::Degraded,
        Health::Unknown => msg::Health::Unknown,
    }
}

fn read_health(number: i32) -> Result<Health, WireError> {
    let known = Health::ALL.iter().find(|word| i32::from(write_health(**word)) == number);
    known.copied().ok_or(unknown("report.health", number))
}

fn unknown(field: &'static str, number: i32) -> WireError {
    if number == 0 { WireError::Missing(field) } else { WireError::Unknown { field, number } }
}
