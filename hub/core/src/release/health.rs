//! Health checks: which of them go along with a bundle's objects.
//!
//! Only those that can be about an object of the bundle do, so that a change of one changes what
//! the bundles concerned are told, and nothing else. They join a variant after its rendering: no
//! change of a check renders anything.

use proto_model::{HealthCheck, limits};

use super::meta::VariantMeta;
use crate::catalog::spec::{BundleSpec, HealthCheckSpec};
use crate::catalog::{Declared, Defect};

/// The checks of a bundle, the first that selects an object counts: its own in their order, then the
/// fleet's, of which later ones come first.
pub(super) fn checks(
    item: &Declared<BundleSpec>,
    fleet: &[&Declared<HealthCheckSpec>],
    meta: &VariantMeta,
) -> Result<Vec<HealthCheck>, Defect> {
    let own = item.spec.health.iter().flat_map(|health| &health.checks);
    let own = (1..).zip(own).map(|(number, check)| told(check, format!("health check {number} of the bundle")));
    let fleet = fleet.iter().rev().map(|check| told(&check.spec, format!("HealthCheck {}", check.full_name())));
    let checks: Vec<HealthCheck> = own.chain(fleet).filter(|check| is_about_any(check, meta)).collect();
    let max = limits::HEALTH_CHECKS_PER_BUNDLE_MAX;
    if checks.len() > max {
        let message = format!("{} health checks can be about its objects, more than {max}", checks.len());
        return Err(item.defect("spec.health", message));
    }
    Ok(checks)
}

/// Whether a check can be about an object of a rendering.
#[must_use]
pub fn is_used(check: &HealthCheckSpec, meta: &VariantMeta) -> bool {
    is_about_any(&told(check, String::new()), meta)
}

fn is_about_any(check: &HealthCheck, meta: &VariantMeta) -> bool {
    let of_kind = meta.objects.iter().filter(|object| check.concerns(&object.identity.kind));
    of_kind.into_iter().any(|object| check.may_select(&object.head()))
}

/// A check as spokes are told it.
fn told(check: &HealthCheckSpec, title: String) -> HealthCheck {
    HealthCheck {
        title,
        api_version: check.api_version.clone(),
        kind: check.kind.clone(),
        names: check.names.clone(),
        labels: check.selector.rules(),
        healthy: check.healthy.clone(),
        degraded: check.degraded.clone(),
    }
}
