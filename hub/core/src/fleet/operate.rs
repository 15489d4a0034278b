//! What tokens, clusters that join, and operators change.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::Glob;
use proto_model::{Digest, limits, name};

use super::{Answer, Audit, Fleet, Refused, Request, TokenState};
use crate::check;
use crate::command::{Act, Deed, Token};
use crate::select::check_label;

impl Fleet {
    pub(super) fn add_token(&mut self, token: &Token) -> Result<(), Refused> {
        let now = self.at_unix_millis;
        // A token that ran out is shown with the clusters that joined with it while there is room.
        let is_full = self.tokens.len() >= limits::JOIN_TOKENS_MAX;
        let kept = self
            .tokens
            .iter()
            .filter(|(_, one)| one.token.expires_unix_millis > now || !(one.used.is_empty() || is_full));
        self.tokens = kept.map(|(id, one)| (id.clone(), one.clone())).collect();
        if self.tokens.len() >= limits::JOIN_TOKENS_MAX {
            return Err(Refused::Because(format!(
                "a hub keeps at most {} join tokens; wait until some run out",
                limits::JOIN_TOKENS_MAX
            )));
        }
        if token.names.is_empty() {
            return Err(Refused::Because(
                "a join token needs the names that it admits; give --cluster or --names".into(),
            ));
        }
        for glob in &token.names {
            Glob::new(glob).map_err(|error| Refused::Because(format!("--names {glob:?}: {error}")))?;
            // A plain name that no cluster can have is a slip.
            if !glob.contains(['*', '?', '[', '{', '\\']) {
                name::check_cluster(glob).map_err(|error| Refused::Because(error.to_string()))?;
            }
        }
        if token.labels.len() > limits::CLUSTER_LABELS_MAX {
            let max = limits::CLUSTER_LABELS_MAX;
            return Err(Refused::Because(format!("a join token carries at most {max} labels")));
        }
        for (key, value) in &token.labels {
            check_label(key, value).map_err(|error| Refused::Because(format!("--label: {error}")))?;
        }
        let fresh = TokenState { token: token.clone(), made_at: self.revision + 1, used: imbl::OrdSet::new() };
        self.tokens.entry(token.id.clone()).or_insert(fresh);
        Ok(())
    }

    /// A cluster joins. Idempotent per token and key: a repetition changes nothing.
    pub(super) fn enrol(&mut self, cluster: &str, token_id: &str, key: Digest) -> Result<(), Refused> {
        let now = self.at_unix_millis;
        let state = self.tokens.get(token_id).cloned().ok_or_else(|| Refused::unknown("join token", token_id))?;
        let mut known = self.cluster_or_new(cluster)?;
        if known.key == Some(key) && known.token.as_deref() == Some(token_id) && !known.revoked {
            return Ok(());
        }
        if state.token.expires_unix_millis <= now {
            return Err(Refused::Because(format!(
                "join token {token_id} has run out; make a new one with `drover cluster join-token`"
            )));
        }
        let admitted = state
            .token
            .names
            .iter()
            .any(|glob| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(cluster)));
        if !admitted {
            return Err(Refused::Because(format!(
                "join token {token_id} does not admit the name {cluster:?}, only {}",
                state.token.names.join(", ")
            )));
        }
        if state.used.len() >= state.token.uses as usize && !state.used.contains(cluster) {
            return Err(Refused::Because(format!(
                "join token {token_id} was used {} times, as often as it may be; make a new one with \
                 `drover cluster join-token`",
                state.used.len()
            )));
        }
        if state.made_at <= known.revoked_at {
            return Err(Refused::Because(format!(
                "the certificates of {cluster} were revoked, and every join token made before with them; make a new one \
                 with `drover cluster join-token --cluster {cluster}`"
            )));
        }
        if known.key.is_some_and(|held| held != key) {
            return Err(Refused::Because(format!(
                "another key holds the name {cluster:?}; if the cluster was reinstalled, run \
                 `drover cluster replace {cluster}`, then join again"
            )));
        }
        known.key = Some(key);
        known.token = Some(token_id.into());
        known.token_labels = state.token.labels.clone();
        known.revoked = false;
        self.clusters.insert(cluster.into(), known);
        if let Some(state) = self.tokens.get_mut(token_id) {
            state.used.insert(cluster.into());
        }
        Ok(())
    }

    /// Carries out an operator's act once, whatever the number of its repetitions.
    pub(super) fn operate(&mut self, act: &Act, moved: &mut BTreeSet<u32>) -> Result<Answer, Refused> {
        if let Some(done) = self.requests.get(&act.request) {
            return Ok(Answer::Operator { request: act.request.clone(), message: done.answer.clone() });
        }
        let message = self.deed(act, moved)?;
        let now = self.at_unix_millis;
        let oldest = now.saturating_sub(limits::REQUEST_KEPT_SECS * 1000);
        if self.requests.len() >= limits::REQUESTS_KEPT {
            let kept = self.requests.iter().filter(|(_, one)| one.at_unix_millis > oldest);
            self.requests = kept.map(|(id, one)| (id.clone(), one.clone())).collect();
        }
        if self.requests.len() >= limits::REQUESTS_KEPT {
            return Err(Refused::Because("too many requests in one day; try again later".into()));
        }
        let request = Request { at_unix_millis: now, answer: message.clone() };
        self.requests.insert(act.request.clone(), request);
        self.note(&act.who, act.deed.words(), &act.why);
        Ok(Answer::Operator { request: act.request.clone(), message })
    }

    /// Writes a line of the audit trail.
    pub(super) fn note(&mut self, who: &str, what: String, why: &str) {
        let at_unix_millis = self.at_unix_millis;
        self.audit.push_back(Audit { at_unix_millis, who: who.to_owned(), what, why: why.to_owned() });
        while self.audit.len() > limits::AUDIT_KEPT {
            self.audit.pop_front();
        }
    }

    fn deed(&mut self, act: &Act, moved: &mut BTreeSet<u32>) -> Result<String, Refused> {
        match &act.deed {
            Deed::CreateToken(token) => {
                self.add_token(token)?;
                Ok(format!("made join token {}", token.id))
            }
            Deed::RemoveCluster(name) => self.remove_cluster(name),
            Deed::Leave { cluster, deletes_objects } => self.leave(cluster, *deletes_objects, moved),
            Deed::Suspend { cluster, bundle, span_millis } => {
                self.suspend(cluster, bundle.as_deref(), *span_millis, (&act.who, &act.why))
            }
            Deed::Resume { cluster, bundle } => self.resume(cluster, bundle.as_deref()),
            Deed::ReplaceCluster(name) => self.replace_cluster(name, moved),
            Deed::RevokeCluster(name) => {
                let cluster = self.clusters.get_mut(name).ok_or_else(|| Refused::unknown("cluster", name))?;
                cluster.revoked = true;
                cluster.revoked_at = self.revision + 1;
                Ok(format!("revoked the certificates of {name}; its stream ends now"))
            }
            Deed::ApproveRewind { source, commit } => {
                let known = self.sources.get_mut(source).ok_or_else(|| Refused::unknown("source", source))?;
                match &mut known.rewind {
                    Some(rewind) if rewind.commit == *commit => {
                        rewind.approved = true;
                        Ok(format!("{source} may go back to {commit}"))
                    }
                    Some(rewind) => Err(Refused::Because(format!(
                        "{source} waits to go back to {}, not to {commit}; approve what you have \
                         looked at",
                        rewind.commit
                    ))),
                    None => Err(Refused::Because(format!("{source} holds no rewind"))),
                }
            }
            Deed::ApproveDeletions { bundle, shown } => self.approve_deletions(bundle, *shown),
        }
    }

    fn approve_deletions(&mut self, bundle: &str, shown: Digest) -> Result<String, Refused> {
        let known = self.bundles.get(bundle).ok_or_else(|| Refused::unknown("bundle", bundle))?;
        let held = check::held(self, known);
        if held.is_empty() || check::held_digest(&held) != shown {
            return Err(Refused::Because(format!(
                "what the guard holds of {bundle} has changed since it was shown; look again with `drover explain`"
            )));
        }
        let mut next = (**known).clone();
        for (cluster, _) in &held {
            next.approved.insert(*cluster, next.goal.get(cluster).copied());
        }
        self.bundles.insert(bundle.into(), Arc::new(next));
        Ok(format!("approved the deletions of {bundle} in {} clusters", held.len()))
    }

    /// Another cluster takes the name: a new incarnation, a new key, everything is sent anew.
    fn replace_cluster(&mut self, name: &str, moved: &mut BTreeSet<u32>) -> Result<String, Refused> {
        let cluster = self.clusters.get_mut(name).ok_or_else(|| Refused::unknown("cluster", name))?;
        if cluster.leaving.is_some() {
            return Err(Refused::Because(format!(
                "{name} leaves the fleet; `drover cluster remove {name} --now` forgets it, and another spoke may join"
            )));
        }
        cluster.incarnation += 1;
        cluster.key = None;
        cluster.token = None;
        cluster.uid = None;
        // Session tokens name their incarnation, so the counter may begin anew.
        cluster.session = 0;
        cluster.presented = 0;
        cluster.quarantine = None;
        cluster.revoked = false;
        cluster.since_unix_millis = self.at_unix_millis;
        let (number, incarnation) = (cluster.number, cluster.incarnation);
        let generation = cluster.generation + 1;
        for (bundle, known) in self.bundles.clone() {
            let mut next = (*known).clone();
            next.forget_seen(number);
            // What was approved was shown for the cluster before.
            next.approved.remove(&number);
            next.installed.0.remove(number);
            // What may be removed stays so: where the same cluster goes on under the name, it is
            // still to do, and in another one there is nothing to remove.
            if next.assigned.contains_key(&number) {
                next.unseen.insert(number, generation);
            }
            if next != *known {
                self.bundles.insert(bundle, Arc::new(next));
            }
        }
        moved.insert(number);
        Ok(format!(
            "{name} may join anew as incarnation {incarnation}; make it a token with \
             `drover cluster join-token --cluster {name}`"
        ))
    }
}
