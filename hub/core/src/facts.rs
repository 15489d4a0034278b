//! What the leader and every stream keep of bodies in memory: identities and lists of objects, by
//! digest. The shell fills it from the store; what is missing here moves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Digest, Variables};

use crate::check::{Facts, Identities};
use crate::command::Pair;
use crate::release::VariantMeta;
use crate::session::Variants;

/// What is known of bodies.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    variants: BTreeMap<Digest, Arc<Known>>,
    variables: BTreeMap<Digest, Arc<Variables>>,
}

#[derive(Debug)]
struct Known {
    meta: VariantMeta,
    objects: Arc<Vec<(Digest, String)>>,
    /// The identities, where they are the same for every cluster.
    same: Option<Arc<Identities>>,
}

impl Shelf {
    /// Keeps what is known of a variant.
    pub fn add_variant(&mut self, digest: Digest, meta: VariantMeta) {
        let same =
            (!meta.binds_identities()).then(|| meta.removals(&Variables::default()).ok()).flatten().map(Arc::new);
        let objects = meta.objects.iter().map(|object| (object.digest, object.identity.to_string())).collect();
        self.variants.insert(digest, Arc::new(Known { meta, objects: Arc::new(objects), same }));
    }

    /// Keeps a table of variables.
    pub fn add_variables(&mut self, digest: Digest, variables: Arc<Variables>) {
        self.variables.insert(digest, variables);
    }

    /// A table of variables.
    #[must_use]
    pub fn variables(&self, digest: &Digest) -> Option<Arc<Variables>> {
        self.variables.get(digest).cloned()
    }

    /// What can be told of a variant's objects.
    #[must_use]
    pub fn variant(&self, digest: &Digest) -> Option<&VariantMeta> {
        self.variants.get(digest).map(|known| &known.meta)
    }

    /// Pairs of which something is missing.
    pub fn missing<'a>(
        &'a self,
        pairs: impl IntoIterator<Item = &'a Pair> + 'a,
    ) -> impl Iterator<Item = &'a Pair> + 'a {
        pairs
            .into_iter()
            .filter(|pair| !self.variants.contains_key(&pair.variant) || !self.variables.contains_key(&pair.variables))
    }

    /// Forgets what no pair names any more.
    pub fn retain(&mut self, used: &BTreeSet<Digest>) {
        self.variants.retain(|digest, _| used.contains(digest));
        self.variables.retain(|digest, _| used.contains(digest));
    }
}

impl Facts for Shelf {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        let known = self.variants.get(&pair.variant)?;
        if let Some(same) = &known.same {
            return Some(same.clone());
        }
        let variables = self.variables.get(&pair.variables)?;
        Some(Arc::new(known.meta.removals(variables).ok()?))
    }
}

impl Variants for Shelf {
    fn objects(&self, variant: &Digest) -> Option<Arc<Vec<(Digest, String)>>> {
        Some(self.variants.get(variant)?.objects.clone())
    }
}
