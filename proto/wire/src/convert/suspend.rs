//! Suspensions: what a hub tells a spoke to leave alone.

use proto_model::limits;
use proto_model::name::check_full_bundle;
use proto_model::suspend::{CLUSTER, Suspension, Suspensions};

use super::{WireError, at_most};
use crate::sync as msg;

pub(crate) fn write_suspensions(all: &Suspensions) -> msg::Suspensions {
    let write = |(scope, one): (&String, &Suspension)| msg::Suspension {
        bundle: if scope == CLUSTER { String::new() } else { scope.clone() },
        id: one.id,
        left_millis: one.left_millis,
        reason: one.reason.clone(),
        by: one.by.clone(),
    };
    msg::Suspensions { suspensions: all.iter().map(write).collect() }
}

pub(crate) fn read_suspensions(message: msg::Suspensions) -> Result<Suspensions, WireError> {
    let field = "suspensions";
    at_most(field, message.suspensions.len(), limits::SUSPENSIONS_PER_CLUSTER_MAX)?;
    let mut all = Suspensions::new();
    for one in message.suspensions {
        at_most("suspension.reason", one.reason.len(), limits::REASON_BYTES_MAX)?;
        at_most("suspension.by", one.by.len(), limits::REASON_BYTES_MAX)?;
        let scope = if one.bundle.is_empty() {
            CLUSTER.to_owned()
        } else {
            check_full_bundle(&one.bundle)?;
            one.bundle
        };
        let suspension = Suspension { id: one.id, left_millis: one.left_millis, reason: one.reason, by: one.by };
        if all.insert(scope.clone(), suspension).is_some() {
            return Err(WireError::Twice { field, name: scope });
        }
    }
    Ok(all)
}
