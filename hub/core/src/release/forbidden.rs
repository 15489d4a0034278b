//! What a source may not have, told before any cluster is known: the goals tell it for clusters alone.

use std::collections::BTreeMap;

use proto_model::Variables;

use super::meta::VariantMeta;
use crate::catalog::{Catalog, Defect};

/// Objects that the source may not have, whichever cluster gets them. `metas`: all renderings of bundles, by full name.
#[must_use]
pub fn forbidden(catalog: &Catalog, metas: &BTreeMap<&str, Vec<&VariantMeta>>) -> Vec<Defect> {
    let mut found = Vec::new();
    let Some(may) = &catalog.may else { return found };
    for (full, item) in &catalog.bundles {
        let metas = metas.get(full.as_str()).into_iter().flatten();
        // What a name is bound to is not known without a cluster.
        let problems = metas.flat_map(|meta| may.problems(meta, &Variables::default()).unwrap_or_default());
        found.extend(problems.map(|message| item.defect("spec.path", message).holding(full)));
    }
    found
}
