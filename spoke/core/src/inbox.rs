//! Putting a change together: its head, the variants and bodies that follow, and the proof that
//! what came is what was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::assign::{Entry, RULES};
use proto_model::delta::{BodyPart, Delta, VariantPart};
use proto_model::variant::APPLY_RULES;
use proto_model::{Digest, Object, Variant, limits};

use crate::ledger::{self, Ledger};
use crate::pack::Content;
use crate::unpack::unpack;

/// The complete variants that the spoke holds, by bundle.
pub type Contents = BTreeMap<String, Content>;

/// A change that is complete: what the ledger must say, and what it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The ledger afterwards.
    pub ledger: Ledger,
    /// Complete variants of bundles that had another one or none.
    pub fresh: Contents,
    /// Bundles whose entry is new or changed.
    pub set: BTreeSet<String>,
    /// Bundles that are no longer known.
    pub forget: Vec<String>,
}

/// A change whose parts are coming in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    delta: Delta,
    variants: BTreeMap<Digest, Variant>,
    bodies: BTreeMap<Digest, Arc<[u8]>>,
    missing_variants: BTreeSet<Digest>,
    missing_bodies: BTreeSet<Digest>,
    // Parts that came against a base that did not fit; a second time is an error.
    misfits: BTreeSet<Digest>,
    bytes: usize,
}

impl Inbox {
    /// Checks the head of a change against what is held; `None` where all of it is held already.
    ///
    /// # Errors
    /// Why it is refused, for the hub. Nothing changes then.
    pub fn open(delta: Delta, ledger: &Ledger, contents: &Contents) -> Result<Option<Self>, String> {
        let root = ledger.root();
        let is_same = delta.root == root || Some(delta.root) == ledger.root_with_lost();
        ledger.fence.admits(&delta.fence, is_same).map_err(|error| error.to_string())?;
        if delta.fence.hub_id.is_empty() {
            return Err("the change names no hub".into());
        }
        if delta.fence == ledger.fence && delta.root == root {
            return Ok(None);
        }
        if delta.base != root {
            return Err(format!(
                "the change is for root {}, and this cluster holds {}",
                delta.base.short(),
                root.short()
            ));
        }
        let mut inbox = Self {
            delta,
            variants: BTreeMap::new(),
            bodies: BTreeMap::new(),
            missing_variants: BTreeSet::new(),
            missing_bodies: BTreeSet::new(),
            misfits: BTreeSet::new(),
            bytes: 0,
        };
        inbox.check_entries(ledger)?;
        inbox.want(contents);
        Ok(Some(inbox))
    }

    /// The generation that the change leads to.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.delta.fence.generation
    }

    /// Whether all parts are here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing_variants.is_empty() && self.missing_bodies.is_empty()
    }

    /// What has not come, at most [`limits::SYNC_NEED_DIGESTS_MAX`] digests.
    #[must_use]
    pub fn missing(&self) -> (Vec<Digest>, Vec<Digest>) {
        let cap = limits::SYNC_NEED_DIGESTS_MAX;
        let variants: Vec<Digest> = self.missing_variants.iter().take(cap).copied().collect();
        let bodies = self.missing_bodies.iter().take(cap - variants.len()).copied().collect();
        (variants, bodies)
    }

    /// Takes a variant. One that nobody asked for is ignored.
    ///
    /// # Errors
    /// Why the change is refused.
    pub fn take_variant(&mut self, part: &VariantPart, contents: &Contents) -> Result<(), String> {
        if !self.missing_variants.contains(&part.digest) {
            return Ok(());
        }
        let base = match part.base {
            None => Some(Vec::new()),
            Some(base) => find_variant(contents, &base).map(Variant::encode),
        };
        let what = format!("variant {}", part.digest.short());
        let Some(bytes) = self.unpacked(&what, part.digest, &part.bytes, base.as_deref())? else {
            return Ok(());
        };
        let variant = Variant::decode(&bytes).map_err(|error| {
            format!("spoke too old: {what} says something that this version does not know: {error}")
        })?;
        if variant.settings.apply_rules > APPLY_RULES {
            let needed = variant.settings.apply_rules;
            return Err(format!(
                "spoke too old: {what} needs rules {needed} of applying, and this one knows {APPLY_RULES}"
            ));
        }
        if variant.objects.len() > limits::VARIANT_OBJECTS_MAX {
            return Err(format!("{what} lists {} objects", variant.objects.len()));
        }
        self.missing_variants.remove(&part.digest);
        self.want_bodies(&variant, contents);
        self.variants.insert(part.digest, variant);
        Ok(())
    }

    /// Takes a body. One that nobody asked for is ignored.
    ///
    /// # Errors
    /// Why the change is refused.
    pub fn take_body(&mut self, part: &BodyPart, contents: &Contents) -> Result<(), String> {
        let is_early = !self.missing_variants.is_empty() && !self.bodies.contains_key(&part.digest);
        if !self.missing_bodies.contains(&part.digest) && !is_early {
            return Ok(());
        }
        let base = match part.base {
            None => Some(Arc::from([])),
            Some(base) => self.bodies.get(&base).or_else(|| find_body(contents, &base)).cloned(),
        };
        let what = format!("object {}", part.digest.short());
        let Some(bytes) = self.unpacked(&what, part.digest, &part.bytes, base.as_deref())? else {
            return Ok(());
        };
        let object = Object::from_body(bytes).map_err(|error| format!("{what} {error}"))?;
        self.missing_bodies.remove(&part.digest);
        self.bodies.insert(part.digest, object.body);
        Ok(())
    }

    /// What the ledger must become, once all parts are here.
    ///
    /// # Errors
    /// Something is missing, or what came is not what the head promised.
    pub fn close(self, ledger: &Ledger, contents: &Contents) -> Result<Change, String> {
        let mut fresh = BTreeMap::new();
        for (name, entry) in &self.delta.set {
            let Some(digest) = ledger::variant(entry) else {
                continue;
            };
            if contents.get(name).is_some_and(|content| content.digest() == digest) {
                continue;
            }
            let variant = self.variants.get(&digest).or_else(|| find_variant(contents, &digest)).cloned();
            let variant = variant.ok_or_else(|| format!("variant {} is missing", digest.short()))?;
            let content = Content::new(variant, |digest| {
                self.bodies.get(digest).or_else(|| find_body(contents, digest)).cloned()
            });
            let content = content.map_err(|digest| format!("object {} is missing", digest.short()))?;
            fresh.insert(name.clone(), content);
        }
        Ok(Change {
            ledger: Ledger {
                fence: self.delta.fence.clone(),
                fence_mac: self.delta.fence_mac.clone(),
                session_token: ledger.session_token.clone(),
                cluster_uid: ledger.cluster_uid.clone(),
                entries: entries_after(&self.delta, ledger),
                lost: BTreeMap::new(),
                suspensions: ledger.suspensions.clone(),
                is_whole: ledger.is_whole,
                hub_suspensions: ledger.hub_suspensions.clone(),
            },
            fresh,
            set: self.delta.set.keys().cloned().collect(),
            forget: self.delta.forget,
        })
    }

    fn check_entries(&self, ledger: &Ledger) -> Result<(), String> {
        for (name, entry) in &self.delta.set {
            proto_model::name::check_full_bundle(name).map_err(|error| error.to_string())?;
            if let Entry::Run(assignment) = entry
                && !RULES.knows(&assignment.rules)
            {
                return Err(format!(
                    "spoke too old: bundle {name} was made for rules {:?}, this spoke knows \
                     {RULES:?}; upgrade the spoke",
                    assignment.rules
                ));
            }
        }
        let after = entries_after(&self.delta, ledger);
        if after.len() > limits::BUNDLES_PER_CLUSTER_MAX {
            return Err(format!("{} bundles for one cluster", after.len()));
        }
        let root = ledger::root(&after);
        if root != self.delta.root {
            return Err(format!(
                "the change leads to root {}, not to {} as it says",
                root.short(),
                self.delta.root.short()
            ));
        }
        Ok(())
    }

    fn want(&mut self, contents: &Contents) {
        let wanted: Vec<Digest> = self.delta.set.values().filter_map(ledger::variant).collect();
        for digest in wanted {
            // What is held is complete, so its bodies are held too.
            if find_variant(contents, &digest).is_none() {
                self.missing_variants.insert(digest);
            }
        }
    }

    fn want_bodies(&mut self, variant: &Variant, contents: &Contents) {
        for digest in &variant.objects {
            if !self.bodies.contains_key(digest) && find_body(contents, digest).is_none() {
                self.missing_bodies.insert(*digest);
            }
        }
    }

    /// The verified bytes of a part; `None` where it must be asked for again, without a base.
    fn unpacked(
        &mut self,
        what: &str,
        digest: Digest,
        bytes: &[u8],
        base: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, String> {
        let plain = base.map(|base| unpack(bytes, base, limits::SYNC_BLOB_BYTES_MAX));
        let error = match plain {
            Some(Ok(plain)) if Digest::of(&plain) == digest => {
                self.bytes += plain.len();
                if self.bytes > limits::DELTA_BYTES_MAX {
                    return Err(format!("the change is larger than {} bytes", limits::DELTA_BYTES_MAX));
                }
                return Ok(Some(plain));
            }
            Some(Ok(_)) => "is not what its digest says".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "builds on a base that is not held here".to_owned(),
        };
        let may_ask_again = base.is_none_or(|base| !base.is_empty());
        if may_ask_again && self.misfits.insert(digest) {
            return Ok(None);
        }
        Err(format!("{what} {error}"))
    }
}

fn entries_after(delta: &Delta, ledger: &Ledger) -> BTreeMap<String, Entry> {
    let mut entries = ledger.entries.clone();
    entries.extend(delta.set.clone());
    entries.retain(|name, _| !delta.forget.contains(name));
    entries
}

fn find_variant<'a>(contents: &'a Contents, digest: &Digest) -> Option<&'a Variant> {
    contents.values().find(|content| content.digest() == *digest).map(Content::variant)
}

fn find_body<'a>(contents: &'a Contents, digest: &Digest) -> Option<&'a Arc<[u8]>> {
    contents.values().find_map(|content| content.body(digest))
}

#[cfg(test)]
mod tests;
