//! The Lease: who acts in the cluster.
//!
//! Whether another holder's lease has run out is judged by this process's own monotonic clock,
//! from when it last saw that lease change: clocks of two machines need not agree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value as Json, json};
use spoke_core::port::{Failure, SYSTEM_NAMESPACE};

use crate::api::{Call, JSON};
use crate::cluster::Inner;
use crate::failure::{Error, Subject};

const NAME: &str = "drover-spoke";
/// Annotation of the Lease: which process wrote it last.
const PROCESS: &str = "drover.dev/process";
const ALL: &str = "/apis/coordination.k8s.io/v1/namespaces/drover-system/leases";

/// What is known of the lease.
#[derive(Default)]
pub(crate) struct Lease {
    /// As it was last written here: its resourceVersion makes the next renewal one conditional write.
    ours: Mutex<Option<Json>>,
    /// Tells this process from another one with a copy of its directory, which has the same name.
    process: OnceLock<String>,
    /// Whether this process has held it, and not given it back.
    has_held: AtomicBool,
    /// What was seen of another holder.
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    resource_version: String,
    at: Instant,
}

impl Lease {
    /// Takes, renews or (`secs` is 0) gives back the lease; `false` while another holder has it.
    pub(crate) async fn renew(&self, inner: &Inner, holder: &str, secs: u32) -> Result<bool, Failure> {
        // Whatever comes of this write, another may have come before it: only its answer is remembered.
        let known = self.ours().take();
        if let Some(known) = known.filter(|known| known["spec"]["holderIdentity"] == holder) {
            match self.write(inner, Some(&known), holder, secs).await {
                // It is not as we left it: a look tells whose it is.
                Err(error) if error.is_code(409) || error.is_code(404) => {}
                Err(error) => return Err(error.failure(&subject("update"))),
                Ok(()) => return Ok(true),
            }
        }
        let found = match inner.urgent.call(Call::get(one())).await {
            Ok(found) => Some(found),
            Err(error) if error.is_missing_object(&subject("get")) => None,
            Err(error) => return Err(error.failure(&subject("get"))),
        };
        if let Some(found) = &found
            && !self.may_take(found, holder, Instant::now())
        {
            return Ok(false);
        }
        let verb = if found.is_some() { "update" } else { "create" };
        match self.write(inner, found.as_ref(), holder, secs).await {
            Ok(()) => Ok(true),
            // Somebody else was first, or the lease was removed just now: the next try tells.
            Err(error) if error.is_code(409) => Ok(false),
            Err(error) => Err(error.failure(&subject(verb))),
        }
    }

    async fn write(&self, inner: &Inner, found: Option<&Json>, holder: &str, secs: u32) -> Result<(), Error> {
        let mut body = manifest(found, holder, secs, &jiff::Timestamp::now());
        body["metadata"]["annotations"][PROCESS] = self.process().into();
        let (verb, method, path) = match found {
            Some(_) => ("update", Method::PUT, one()),
            None => ("create", Method::POST, ALL.to_owned()),
        };
        let written = inner.in_system_namespace(&inner.urgent, &subject(verb), method, &path, JSON, &body).await?;
        *self.ours() = Some(written);
        self.has_held.store(secs > 0, Ordering::Relaxed);
        Ok(())
    }

    fn process(&self) -> &str {
        self.process.get_or_init(|| format!("{:016x}", rand::random::<u64>()))
    }

    fn ours(&self) -> MutexGuard<'_, Option<Json>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease is ours, free, or was not renewed for as long as its holder said.
    fn may_take(&self, found: &Json, holder: &str, now: Instant) -> bool {
        let spec = &found["spec"];
        let theirs = spec["holderIdentity"].as_str().unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // One that starts goes on where its process before ended. Once it has held the Lease, another one that writes
        // under its name is a copy of it: of two, the one acts that began last.
        let writer = found["metadata"]["annotations"][PROCESS].as_str();
        let is_copy = self.has_held.load(Ordering::Relaxed) && writer.is_some_and(|writer| writer != self.process());
        if theirs.is_empty() || theirs == holder && !is_copy {
            *seen = None;
            return true;
        }
        let version = found["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let good_for = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0));
        match &*seen {
            Some(before) if before.resource_version == version => now.duration_since(before.at) >= good_for,
            _ => {
                *seen = Some(Seen { resource_version: version.into(), at: now });
                false
            }
        }
    }
}

fn one() -> String {
    format!("{ALL}/{NAME}")
}

fn subject(verb: &'static str) -> Subject {
    Subject {
        verb,
        resource: "leases.coordination.k8s.io".into(),
        namespace: SYSTEM_NAMESPACE.into(),
        name: NAME.into(),
    }
}

/// The lease as it is to be; its resourceVersion makes the update conditional.
fn manifest(found: Option<&Json>, holder: &str, secs: u32, now: &jiff::Timestamp) -> Json {
    let now = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let mut body = found.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": SYSTEM_NAMESPACE}, "spec": {},
        })
    });
    let spec = &mut body["spec"];
    if secs == 0 {
        // The API server takes no span of nothing; nobody's lease is free whatever its span.
        spec["holderIdentity"] = "".into();
        return body;
    }
    if spec["holderIdentity"] != holder {
        let transitions = spec["leaseTransitions"].as_u64();
        spec["leaseTransitions"] = transitions.map_or(0, |n| n.saturating_add(1)).into();
        spec["acquireTime"] = now.as_str().into();
        spec["holderIdentity"] = holder.into();
    }
    spec["leaseDurationSeconds"] = secs.into();
    spec["renewTime"] = now.into();
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(version: &str) -> Json {
        json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}})
    }

    #[test]
    fn a_lease_is_taken_only_when_it_stood_still_for_its_time() {
        let (lease, start) = (Lease::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        assert!(lease.may_take(&held("1"), "a", start));
        assert!(!lease.may_take(&held("1"), "b", start));
        assert!(!lease.may_take(&held("1"), "b", after(9)));
        assert!(!lease.may_take(&held("2"), "b", after(11)));
        assert!(!lease.may_take(&held("2"), "b", after(20)));
        assert!(lease.may_take(&held("2"), "b", after(21)));
    }

    #[test]
    fn of_two_processes_with_one_name_the_last_that_began_acts() {
        let (first, second, start) = (Lease::default(), Lease::default(), Instant::now());
        let written = |by: &Lease, version: &str| {
            let mut lease = held(version);
            lease["metadata"]["annotations"] = json!({PROCESS: by.process()});
            lease
        };
        assert!(second.may_take(&written(&first, "1"), "a", start), "as one that starts again");
        first.has_held.store(true, Ordering::Relaxed);
        second.has_held.store(true, Ordering::Relaxed);
        assert!(first.may_take(&written(&first, "2"), "a", start), "an answer was lost");
        assert!(!first.may_take(&written(&second, "3"), "a", start), "a copy of it began");
        assert!(second.may_take(&written(&second, "3"), "a", start));
        assert!(first.may_take(&written(&second, "3"), "a", start + Duration::from_secs(11)), "and ended");
    }

    #[test]
    fn a_change_of_holder_is_counted() {
        let body = manifest(Some(&held("1")), "b", 15, &jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(body["spec"]["holderIdentity"], "b");
        assert_eq!(body["spec"]["renewTime"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(body["metadata"]["resourceVersion"], "1");
    }

    #[test]
    fn what_is_given_back_is_nobody_s() {
        let body = manifest(Some(&held("1")), "a", 0, &jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(body["spec"], json!({"holderIdentity": "", "leaseDurationSeconds": 10}));
        assert!(Lease::default().may_take(&body, "b", Instant::now()));
    }
}
