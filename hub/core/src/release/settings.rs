//! What of a bundle's declaration shapes what a spoke does.

use proto_model::Settings;
use proto_model::variant::{Adopt, Binds, Dependency, Ignore, OnRemoval};

use crate::catalog::spec::{self, BundleSpec};
use crate::catalog::{Declared, full_name, service_account};

/// The settings that a bundle's declaration asks for. Health checks, and the rules that its objects need, join once
/// those are known.
pub(super) fn settings(item: &Declared<BundleSpec>) -> Settings {
    let spec = &item.spec;
    let binds = spec.variables.iter();
    let depends_on =
        spec.depends_on.iter().map(|on| Dependency { bundle: full_name(&item.source, &on.bundle), until: on.until });
    Settings {
        namespace: spec.namespace.clone(),
        binds: binds.map(|(name, one)| (name.clone(), Binds { identity: one.identity })).collect(),
        depends_on: depends_on.collect(),
        drift: spec.drift,
        ignore: spec.ignore.iter().map(ignore).collect(),
        adopt: match spec.adopt {
            spec::Adopt::Always => Adopt::Always,
            spec::Adopt::IfNoDiff => Adopt::IfNoDiff,
            spec::Adopt::Never => Adopt::Never,
        },
        on_removal: match spec.on_removal {
            spec::OnRemoval::Delete => OnRemoval::Delete,
            spec::OnRemoval::Orphan => OnRemoval::Orphan,
        },
        // One that is none is a defect, which holds the bundle.
        service_account: spec
            .service_account
            .as_ref()
            .and_then(|text| service_account(text, spec.namespace.as_deref()).ok()),
        replaces: spec.replaces.iter().map(|old| full_name(&item.source, old)).collect(),
        keeps_pods: !spec.restart_on_change,
        ..Settings::default()
    }
}

fn ignore(one: &spec::Ignore) -> Ignore {
    let target = &one.target;
    Ignore {
        group: target.group.clone(),
        kind: target.kind.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        labels: target.label_selector.iter().flat_map(|selector| selector.rules()).collect(),
        fields: one.fields.clone(),
    }
}
