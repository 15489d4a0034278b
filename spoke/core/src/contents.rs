//! What a namespace holds, or what is of a kind, beyond what may go along with it.
//!
//! Kubernetes deletes everything in a namespace with the namespace, and every object of a kind with
//! its definition. So neither is deleted while it holds anything that no inventory has, save what
//! Kubernetes itself puts there and what objects of inventories own. Shells list and feed a
//! [`Survey`]; this is the one place that judges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{GroupKind, Identity, limits};
use serde_json::Value as Json;

/// What is in the way of deleting a namespace or a definition; empty where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The first few objects that are nobody's here.
    pub foreign: Vec<Identity>,
    /// The first few kinds that could not be listed, and why: what can't be seen counts as there.
    pub unlisted: Vec<(GroupKind, String)>,
    /// There is too much to tell whose it is.
    pub is_too_full: bool,
}

impl Contents {
    /// Whether nothing is in the way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.foreign.is_empty() && self.unlisted.is_empty() && !self.is_too_full
    }

    /// What is in the way, for people.
    #[must_use]
    pub fn say(&self) -> String {
        if let Some(((kind, why), _)) = self.unlisted.split_first()
            && self.foreign.is_empty()
        {
            return format!("may hold objects that are not in the inventory: kind {kind} can't be listed ({why})");
        }
        if self.foreign.is_empty() {
            let max = limits::CONTENTS_OBJECTS_MAX;
            return format!("holds more than {max} objects, too many to tell whose they are; delete them first");
        }
        let named: Vec<String> = self.foreign.iter().map(ToString::to_string).collect();
        format!("holds objects that are not in the inventory: {}; delete or move them first", named.join(", "))
    }
}

/// One object in a list, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which object.
    pub identity: Identity,
    /// Its uid.
    pub uid: String,
    /// uids of its owners, from `metadata.ownerReferences`.
    pub owners: Vec<String>,
}

impl Member {
    /// Reads the metadata of an object of a kind.
    #[must_use]
    pub fn read(kind: &GroupKind, metadata: &Json) -> Self {
        let text = |of: &Json, key: &str| of.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let owners = metadata.get("ownerReferences").and_then(Json::as_array);
        Self {
            identity: Identity {
                kind: kind.clone(),
                namespace: text(metadata, "namespace"),
                name: text(metadata, "name"),
            },
            uid: text(metadata, "uid"),
            owners: owners.into_iter().flatten().map(|owner| text(owner, "uid")).collect(),
        }
    }
}

/// Tells foreign objects from others, one after another.
#[derive(Debug)]
pub struct Survey {
    inventoried: Arc<BTreeSet<String>>,
    /// uids of what inventoried objects own.
    owned: BTreeSet<String>,
    /// Objects whose owners were not seen yet, by uid.
    kin: BTreeMap<String, Member>,
    seen: usize,
    contents: Contents,
}

impl Survey {
    /// Begins; `inventoried` are the uids of all objects in inventories.
    #[must_use]
    pub fn new(inventoried: Arc<BTreeSet<String>>) -> Self {
        Self { inventoried, owned: BTreeSet::new(), kin: BTreeMap::new(), seen: 0, contents: Contents::default() }
    }

    /// Takes in one object.
    pub fn see(&mut self, member: Member) {
        self.seen += 1;
        if self.seen > limits::CONTENTS_OBJECTS_MAX {
            self.contents.is_too_full = true;
        } else if self.inventoried.contains(&member.uid) || is_of_kubernetes(&member.identity) {
        } else if member.owners.is_empty() {
            self.found(member.identity);
        } else if self.is_owned(&member) {
            self.owned.insert(member.uid);
        } else {
            self.kin.insert(member.uid.clone(), member);
        }
    }

    /// Takes in that a kind can't be listed.
    pub fn cannot_list(&mut self, kind: GroupKind, why: impl Into<String>) {
        if self.contents.unlisted.len() < limits::CONTENTS_NAMED_MAX {
            self.contents.unlisted.push((kind, why.into()));
        }
    }

    /// Whether nothing more need be listed.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        !self.contents.foreign.is_empty() || self.contents.is_too_full
    }

    /// What is in the way.
    #[must_use]
    pub fn finish(mut self) -> Contents {
        loop {
            let owned: Vec<String> =
                self.kin.values().filter(|one| self.is_owned(one)).map(|one| one.uid.clone()).collect();
            if owned.is_empty() {
                break;
            }
            self.kin.retain(|uid, _| !owned.contains(uid));
            self.owned.extend(owned);
        }
        for member in std::mem::take(&mut self.kin).into_values() {
            self.found(member.identity);
        }
        self.contents
    }

    fn found(&mut self, identity: Identity) {
        if self.contents.foreign.len() < limits::CONTENTS_NAMED_MAX {
            self.contents.foreign.push(identity);
        }
    }

    // Kubernetes collects an object only once all its owners are gone.
    fn is_owned(&self, member: &Member) -> bool {
        member.owners.iter().all(|uid| self.inventoried.contains(uid) || self.owned.contains(uid))
    }
}

/// What Kubernetes itself puts into every namespace, or writes down about it.
fn is_of_kubernetes(identity: &Identity) -> bool {
    let Identity { kind, name, .. } = identity;
    kind.is("", "ServiceAccount") && name == "default"
        || kind.is("", "ConfigMap") && name == "kube-root-ca.crt"
        || kind.is("", "Event")
        || kind.is("events.k8s.io", "Event")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(kind: &str, name: &str, owners: &[&str]) -> Member {
        let references: Vec<Json> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        let metadata =
            json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "ownerReferences": references});
        Member::read(&GroupKind::of("v1", kind), &metadata)
    }

    fn survey(members: &[Member]) -> Contents {
        let inventoried = ["uid-ours".to_owned(), "uid-also".to_owned()];
        let mut survey = Survey::new(Arc::new(inventoried.into()));
        members.iter().cloned().for_each(|one| survey.see(one));
        survey.finish()
    }

    #[test]
    fn what_kubernetes_puts_there_and_what_is_ours_does_not_count() {
        let contents = survey(&[
            member("ServiceAccount", "default", &[]),
            member("ConfigMap", "kube-root-ca.crt", &[]),
            member("Event", "anything", &[]),
            member("ConfigMap", "ours", &[]),
            // Told in any order: a Pod before the ReplicaSet that owns it.
            member("Pod", "pod", &["uid-set"]),
            member("ReplicaSet", "set", &["uid-ours"]),
            member("Lease", "both", &["uid-ours", "uid-also"]),
        ]);
        assert!(contents.is_empty(), "{contents:?}");
    }

    #[test]
    fn the_first_few_foreign_objects_are_named() {
        let names = ["a", "b", "c", "d"];
        let all: Vec<Member> = names.iter().map(|name| member("ConfigMap", name, &[])).collect();
        let contents = survey(&all);
        assert_eq!(contents.foreign.len(), limits::CONTENTS_NAMED_MAX);
        assert_eq!(
            contents.say(),
            "holds objects that are not in the inventory: ConfigMap shop/a, ConfigMap shop/b, ConfigMap shop/c; \
             delete or move them first"
        );
        for one in [
            member("ServiceAccount", "deployer", &[]),
            member("Secret", "default", &[]),
            member("Pod", "of-theirs", &["uid-theirs"]),
            member("Pod", "of-both", &["uid-ours", "uid-theirs"]),
        ] {
            assert_eq!(survey(std::slice::from_ref(&one)).foreign, [one.identity]);
        }
    }

    #[test]
    fn what_cannot_be_listed_or_counted_counts_as_there() {
        let mut blind = Survey::new(Arc::default());
        blind.cannot_list(GroupKind::of("example.com/v1", "Widget"), "forbidden");
        assert!(!blind.is_decided(), "a foreign object would tell more");
        let contents = blind.finish();
        assert!(!contents.is_empty());
        assert_eq!(
            contents.say(),
            "may hold objects that are not in the inventory: kind Widget.example.com can't be listed (forbidden)"
        );
        let all: Vec<Member> =
            (0..=limits::CONTENTS_OBJECTS_MAX).map(|n| member("Pod", &n.to_string(), &["uid-ours"])).collect();
        let contents = survey(&all);
        assert!(contents.is_too_full && !contents.is_empty() && contents.say().contains("too many"));
    }
}
