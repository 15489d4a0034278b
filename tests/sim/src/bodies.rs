//! Bodies by digest, as the hub's store holds them, and what the checks of the simulation read in
//! them: worked out here anew, not asked of the code that is checked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::command::Pair;
use hub_core::facts::Shelf;
use hub_core::release::VariantMeta;
use hub_core::session::Item;
use proto_model::delta::{BodyPart, ToSpoke, VariantPart};
use proto_model::wishes;
use proto_model::{Digest, Identity, Object, Settings, Variables, Variant, bind, object};
use proto_wire::compress::compress;
use serde_json::Value as Json;

/// Annotation with the revision of an object.
pub(crate) const REVISION: &str = "sim.test/revision";
/// Annotation into which a variable is bound.
pub(crate) const SITE: &str = "sim.test/site";

/// What a pair puts into a cluster.
pub type Expected = BTreeMap<Identity, Wanted>;

/// One object of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The text by which its content is known again.
    pub text: String,
    /// What is in it, of a ConfigMap whose bundle does not leave that alone.
    pub data: Option<Json>,
    /// Whether it asks to stay when it is wanted no more.
    pub is_kept: bool,
    /// Whether it asks for somebody's word before it goes.
    pub is_confirmed: bool,
    /// Whether it asks to be made once and never changed.
    pub is_made_once: bool,
    /// Whether it may be made anew where it can't be changed.
    pub is_made_anew: bool,
}

impl Wanted {
    fn of(bound: &Json, settings: &Settings) -> Self {
        let says = |name: &str, word: &str| object::annotation(bound, name) == Some(word);
        let is = |kind: &str| bound.get("kind").is_some_and(|one| one == kind);
        let asks_for_another = says(wishes::REPLACE, "recreate") || says(wishes::REPLACE, "orphan");
        Self {
            text: payload(bound),
            data: bound.get("data").filter(|_| is("ConfigMap") && settings.ignore.is_empty()).cloned(),
            is_kept: says(wishes::PRUNE, "keep"),
            is_confirmed: says(wishes::PRUNE, "confirm"),
            is_made_once: says(wishes::APPLY, "createOnly"),
            is_made_anew: is("Job") || asks_for_another,
        }
    }
}

/// The store of bodies. What was once in it stays.
#[derive(Debug, Default)]
pub struct Bodies {
    bytes: BTreeMap<Digest, Arc<[u8]>>,
    /// What the hub keeps of them in memory.
    pub shelf: Shelf,
    expected: RefCell<BTreeMap<(Digest, Digest), Arc<Expected>>>,
    packed: RefCell<Packed>,
}

/// Compressed bodies, by digest and the one that they were compressed against.
type Packed = BTreeMap<(Digest, Option<Digest>), Arc<[u8]>>;

impl Bodies {
    pub(crate) fn add_variant(&mut self, settings: Settings, manifests: Vec<Json>) -> Digest {
        let objects: Vec<Object> = manifests.iter().filter_map(|manifest| Object::new(manifest).ok()).collect();
        debug_assert_eq!(objects.len(), manifests.len());
        let meta = VariantMeta::of(&settings, &objects);
        let variant = Variant { settings, objects: objects.iter().map(|object| object.digest).collect() };
        let digest = variant.digest();
        if self.bytes.contains_key(&digest) {
            return digest;
        }
        self.bytes.insert(digest, variant.encode().into());
        self.bytes.extend(objects.into_iter().map(|object| (object.digest, object.body)));
        if let Ok(meta) = meta {
            self.shelf.add_variant(digest, meta);
        }
        digest
    }

    pub(crate) fn add_variables(&mut self, variables: Variables) -> Digest {
        let digest = variables.digest();
        self.bytes.entry(digest).or_insert_with(|| variables.encode().into());
        self.shelf.add_variables(digest, Arc::new(variables));
        digest
    }

    /// What a pair puts into a cluster; `None` where a body is missing.
    #[must_use]
    pub fn of_pair(&self, pair: &Pair) -> Option<Arc<Expected>> {
        let variables = Variables::decode(self.bytes.get(&pair.variables)?).ok()?;
        self.expected(&pair.variant, &variables)
    }

    /// What a variant puts into a cluster with these variables.
    #[must_use]
    pub fn expected(&self, variant: &Digest, variables: &Variables) -> Option<Arc<Expected>> {
        let key = (*variant, variables.digest());
        if let Some(known) = self.expected.borrow().get(&key) {
            return Some(known.clone());
        }
        let list = Variant::decode(self.bytes.get(variant)?).ok()?;
        let mut out = Expected::new();
        for digest in &list.objects {
            let manifest: Json = serde_json::from_slice(self.bytes.get(digest)?).ok()?;
            let bound = bind::bind(&manifest, variables, &list.settings.binds).ok()?;
            let mut identity = object::identity(&bound).ok()?;
            let is_wide = identity.kind.is_shared() || identity.kind.kind == "ClusterRole";
            if identity.namespace.is_empty() && !is_wide {
                identity.namespace = list.settings.namespace.clone().unwrap_or_default();
            }
            out.insert(identity, Wanted::of(&bound, &list.settings));
        }
        let out = Arc::new(out);
        self.expected.borrow_mut().insert(key, out.clone());
        Some(out)
    }

    /// The settings of a variant; `None` where its body is missing.
    #[must_use]
    pub fn settings(&self, variant: &Digest) -> Option<Settings> {
        Variant::decode(self.bytes.get(variant)?).ok().map(|list| list.settings)
    }

    /// The message for an item of a session that names a body.
    pub(crate) fn part(&self, item: &Item) -> Option<ToSpoke> {
        match item {
            Item::Variant { digest, base } => {
                let bytes = self.packed(*digest, *base)?;
                Some(ToSpoke::Variant(VariantPart { digest: *digest, base: *base, bytes }))
            }
            Item::Body { digest, base } => {
                let bytes = self.packed(*digest, *base)?;
                Some(ToSpoke::Body(BodyPart { digest: *digest, base: *base, bytes }))
            }
            _ => None,
        }
    }

    fn packed(&self, digest: Digest, base: Option<Digest>) -> Option<Arc<[u8]>> {
        if let Some(known) = self.packed.borrow().get(&(digest, base)) {
            return Some(known.clone());
        }
        let prefix = match base {
            Some(base) => Some(self.bytes.get(&base)?.clone()),
            None => None,
        };
        let packed = compress(self.bytes.get(&digest)?, prefix.as_deref()).ok()?;
        let packed: Arc<[u8]> = packed.into();
        self.packed.borrow_mut().insert((digest, base), packed.clone());
        Some(packed)
    }
}

/// The text by which the content of an object is known again.
#[must_use]
pub(crate) fn payload(manifest: &Json) -> String {
    let text = |name| object::annotation(manifest, name).unwrap_or_default();
    format!("{}/{}", text(REVISION), text(SITE))
}
