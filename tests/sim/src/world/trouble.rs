//! API servers in trouble for a while: throttling, out of quota, with a webhook that is down or refuses dry-runs.

use proto_model::GroupKind;
use spoke_core::port::Reason;
use spoke_memory::{Fault as Refusal, Verb};

use super::{Happening, World};
use crate::counts::Fault;

impl World {
    /// Something is wrong with the API server of a cluster, for some seconds.
    pub(super) fn trouble(&mut self, cluster: &str) {
        let kinds = [("", "ConfigMap"), ("", "Secret"), ("apps", "Deployment")];
        let kind =
            self.rng.pick(&kinds).map(|(group, kind)| GroupKind { group: (*group).into(), kind: (*kind).into() });
        let (fault, refusal) = match self.rng.below(4) {
            0 => {
                let mut refusal = Refusal::of(Reason::Throttled);
                refusal.failure.retry_after_millis = Some(self.rng.between(500, 3_000));
                (Fault::Throttling, refusal)
            }
            1 => (Fault::QuotaFull, Refusal { verbs: vec![Verb::Apply], kind, ..Refusal::of(Reason::Quota) }),
            2 => {
                let verbs = vec![Verb::Apply, Verb::DryRun, Verb::Patch, Verb::Delete];
                (Fault::WebhookDown, Refusal { verbs, kind, ..Refusal::of(Reason::Webhook) })
            }
            _ => (Fault::DryRunsRefused, Refusal { verbs: vec![Verb::DryRun], kind, ..Refusal::of(Reason::Webhook) }),
        };
        let Some(site) = self.sites.get_mut(cluster) else { return };
        site.state.refuse(refusal);
        self.counts.fault(fault);
        self.tell(|| format!("{cluster}: its API server is in trouble: {fault:?}"));
        self.soon(500, 6_000, Happening::Eases { cluster: cluster.to_owned() });
    }

    pub(super) fn eases(&mut self, cluster: &str) {
        if let Some(site) = self.sites.get_mut(cluster) {
            site.state.allow();
        }
        self.tell(|| format!("{cluster}: its API server is well again"));
    }
}
