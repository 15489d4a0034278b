//! What operators want to be left alone for a while: nothing of it is moved, and the spoke is told to keep its hands
//! off. It ends when the leader's clocks say so (`lead::lapse`), or an operator.

use std::collections::BTreeMap;

use proto_model::suspend::CLUSTER;
use proto_model::{limits, time};
use serde::{Deserialize, Serialize};

use super::{Fleet, Refused};
use crate::command::Lapsed;

/// What is suspended in a cluster, by scope: a full bundle name or [`CLUSTER`].
pub type Suspensions = BTreeMap<String, Suspension>;

/// One suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// The revision that made it: names it towards the spoke.
    pub id: u64,
    /// Who made it.
    pub who: String,
    /// Why, in the operator's words.
    pub why: String,
    /// When it was made.
    pub at_unix_millis: u64,
    /// When it ends.
    pub until_unix_millis: u64,
}

/// A scope in words.
fn words<'a>(cluster: &'a str, scope: &'a str) -> String {
    if scope == CLUSTER { cluster.to_owned() } else { format!("{scope} in {cluster}") }
}

impl Fleet {
    /// What is suspended in a cluster.
    #[must_use]
    pub fn suspensions_of(&self, cluster: &str) -> Suspensions {
        self.suspensions.get(cluster).cloned().unwrap_or_default()
    }

    /// The suspension of a bundle in a cluster: its own or that of the whole cluster, whichever lasts longer, and its
    /// scope.
    #[must_use]
    pub fn suspension(&self, cluster: &str, bundle: &str) -> Option<(&str, &Suspension)> {
        let all = self.suspensions.get(cluster)?;
        let found = [bundle, CLUSTER].into_iter().filter_map(|scope| all.get_key_value(scope));
        found.map(|(scope, one)| (&**scope, one)).max_by_key(|(_, one)| one.until_unix_millis)
    }

    /// Ends what is over.
    pub(super) fn lapse(&mut self, lapsed: &[Lapsed]) {
        for Lapsed { cluster, scope, id } in lapsed {
            let mut all = self.suspensions_of(cluster);
            if all.get(scope).is_some_and(|one| one.id == *id) {
                all.remove(scope);
                self.keep_suspensions(cluster, all);
                self.note("drover-hub", format!("the suspension of {} is over", words(cluster, scope)), "");
            }
        }
    }

    fn keep_suspensions(&mut self, cluster: &str, kept: Suspensions) {
        if kept.is_empty() {
            self.suspensions.remove(cluster);
        } else if self.suspensions.get(cluster) != Some(&kept) {
            self.suspensions.insert(cluster.into(), kept);
        }
    }

    /// Begins a suspension, or puts another in its place.
    pub(super) fn suspend(
        &mut self,
        cluster: &str,
        bundle: Option<&str>,
        span_millis: u64,
        (who, why): (&str, &str),
    ) -> Result<String, Refused> {
        let known = self.clusters.get(cluster).ok_or_else(|| Refused::unknown("cluster", cluster))?;
        if let Some(name) = bundle {
            let found = self.bundles.get(name).ok_or_else(|| Refused::unknown("bundle", name))?;
            if !found.is_in(known.number) && !found.goal.contains_key(&known.number) {
                return Err(Refused::Because(format!(
                    "{cluster} neither runs nor should run {name}; `drover explain {cluster}` shows what it runs"
                )));
            }
        }
        let days = limits::SUSPENSION_SECS_MAX / 86_400;
        if span_millis == 0 || span_millis > limits::SUSPENSION_SECS_MAX * 1_000 {
            return Err(Refused::Because(format!(
                "a suspension lasts more than nothing and at most {days} days; suspend again before it ends"
            )));
        }
        if why.len() > limits::REASON_BYTES_MAX || why.chars().any(char::is_control) {
            let max = limits::REASON_BYTES_MAX;
            return Err(Refused::Because(format!("the reason must be one line of at most {max} bytes")));
        }
        let scope = bundle.unwrap_or(CLUSTER);
        let mut all = self.suspensions_of(cluster);
        let until_unix_millis = self.at_unix_millis.saturating_add(span_millis);
        let (id, at_unix_millis) = (self.revision + 1, self.at_unix_millis);
        let one = Suspension { id, who: who.into(), why: why.into(), at_unix_millis, until_unix_millis };
        all.insert(scope.into(), one);
        if all.len() > limits::SUSPENSIONS_PER_CLUSTER_MAX {
            return Err(Refused::Because(format!(
                "{cluster} has {} suspensions already; suspend the whole cluster",
                limits::SUSPENSIONS_PER_CLUSTER_MAX
            )));
        }
        self.suspensions.insert(cluster.into(), all);
        Ok(format!(
            "suspended {} until {}: nothing of it is changed, drift neither; `drover resume {cluster}{}` ends it before",
            words(cluster, scope),
            time::utc(until_unix_millis),
            bundle.map(|name| format!(" {name}")).unwrap_or_default()
        ))
    }

    /// Ends a suspension before its time.
    pub(super) fn resume(&mut self, cluster: &str, bundle: Option<&str>) -> Result<String, Refused> {
        if !self.clusters.contains_key(cluster) {
            return Err(Refused::unknown("cluster", cluster));
        }
        let scope = bundle.unwrap_or(CLUSTER);
        let mut all = self.suspensions_of(cluster);
        let ended = all.remove(scope);
        let others: Vec<String> = all
            .iter()
            .map(|(scope, one)| format!("{} until {}", words(cluster, scope), time::utc(one.until_unix_millis)))
            .collect();
        if ended.is_none() {
            let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
            let what = words(cluster, scope);
            return Err(Refused::Because(format!("{what} is not suspended at the hub; suspended there is: {others}")));
        }
        self.keep_suspensions(cluster, all);
        let still = if others.is_empty() { String::new() } else { format!("; still suspended: {}", others.join(", ")) };
        Ok(format!("resumed {}{still}", words(cluster, scope)))
    }
}
