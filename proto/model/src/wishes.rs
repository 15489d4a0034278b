//! What the annotations of one object ask of whoever applies and removes it.
//!
//! Hub and spoke read them here, so that the guard counts what the spoke will do. Words of Helm, Argo CD and Flux are
//! read as the same.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{GroupKind, assign, object};

/// What becomes of an object that its bundle names no more: [`Prune`].
pub const PRUNE: &str = "drover.dev/prune";
/// Whether an object is changed once it is there: `createOnly`.
pub const APPLY: &str = "drover.dev/apply";
/// What to do where a field can't be changed: [`Replace`].
pub const REPLACE: &str = "drover.dev/replace";
/// On a hook, when it goes again once it has run: `succeeded`, `failed`, or both with a comma.
pub const HOOK_DELETE: &str = "drover.dev/hook-delete";
/// On a live object, `disabled`: hands off.
pub const RECONCILE: &str = "drover.dev/reconcile";

const HELM_POLICY: &str = "helm.sh/resource-policy";
const ARGO_OPTIONS: &str = "argocd.argoproj.io/sync-options";
const FLUX_PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
const FLUX_APPLY: &str = "kustomize.toolkit.fluxcd.io/ssa";
const FLUX_FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
const FLUX_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";

/// All annotations that [`Wishes::read`] reads.
pub const READ: [&str; 9] =
    [PRUNE, APPLY, REPLACE, HOOK_DELETE, HELM_POLICY, ARGO_OPTIONS, FLUX_PRUNE, FLUX_APPLY, FLUX_FORCE];

/// What becomes of an object that its bundle names no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Prune {
    /// It goes, after the new objects are Healthy.
    #[default]
    Delete,
    /// It goes before the new objects are applied: it holds a port or a volume.
    First,
    /// It goes once somebody said so.
    Confirm,
    /// It stays, owned by nobody.
    Keep,
}

/// What to do where a field can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Replace {
    /// Say so, and leave it.
    Never,
    /// Delete it and make it anew.
    Recreate,
    /// The same, and what it owns (pods) stays for its successor.
    Orphan,
}

/// What one object asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// When its bundle names it no more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prune: Prune,
    /// Made once, never changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_only: bool,
    /// Where a field can't be changed; `None`: as its kind has it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace: Option<Replace>,
    /// A hook that goes once it has succeeded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delete_succeeded: bool,
    /// A hook that goes once it has failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delete_failed: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An annotation that says nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {value:?} is none of {known}")]
pub struct BadWish {
    /// Which annotation.
    pub annotation: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub known: &'static str,
}

impl Wishes {
    /// Reads the annotations of a manifest. Drover's own win; of several others the more careful one does.
    ///
    /// # Errors
    /// An annotation of Drover's own has a value that is not known.
    pub fn read(manifest: &Json) -> Result<Self, BadWish> {
        let own = |name| object::annotation(manifest, name);
        let bad = |annotation, value: &str, known| Err(BadWish { annotation, value: value.to_owned(), known });
        let others = Self::of_others(manifest);
        let prune = match own(PRUNE) {
            None => others.prune,
            Some("keep") => Prune::Keep,
            Some("confirm") => Prune::Confirm,
            Some("first") => Prune::First,
            Some(value) => return bad(PRUNE, value, "keep, confirm, first"),
        };
        let create_only = match own(APPLY) {
            None => others.create_only,
            Some("createOnly") => true,
            Some(value) => return bad(APPLY, value, "createOnly"),
        };
        let replace = match own(REPLACE) {
            None => others.replace,
            Some("never") => Some(Replace::Never),
            Some("recreate") => Some(Replace::Recreate),
            Some("orphan") => Some(Replace::Orphan),
            Some(value) => return bad(REPLACE, value, "never, recreate, orphan"),
        };
        let (mut delete_succeeded, mut delete_failed) = (false, false);
        for word in own(HOOK_DELETE).into_iter().flat_map(|value| value.split(',')) {
            match word.trim() {
                "succeeded" => delete_succeeded = true,
                "failed" => delete_failed = true,
                value => return bad(HOOK_DELETE, value, "succeeded, failed"),
            }
        }
        Ok(Self { prune, create_only, replace, delete_succeeded, delete_failed })
    }

    fn of_others(manifest: &Json) -> Self {
        let says = |name, word: &str| object::annotation(manifest, name).is_some_and(|value| is(value, word));
        let options = object::annotation(manifest, ARGO_OPTIONS).unwrap_or_default();
        let has = |option: &str| options.split(',').any(|one| is(one, option));
        let prune =
            if says(HELM_POLICY, "keep") || says(FLUX_PRUNE, "disabled") || has("Prune=false") || has("Delete=false") {
                Prune::Keep
            } else if has("Prune=confirm") || has("Delete=confirm") {
                Prune::Confirm
            } else {
                Prune::Delete
            };
        let is_replaced = has("Replace=true") || has("Force=true") || says(FLUX_FORCE, "enabled");
        Self {
            prune,
            create_only: says(FLUX_APPLY, "IfNotPresent"),
            replace: is_replaced.then_some(Replace::Recreate),
            ..Self::default()
        }
    }

    /// Reads the annotations of a live object: somebody may have asked there for more care than Git does.
    #[must_use]
    pub fn read_live(object: &Json) -> Self {
        Self::read(object).unwrap_or_else(|_| Self::of_others(object))
    }

    /// What is done where a field of an object of this kind can't be changed. What takes data or other objects along
    /// is never replaced.
    #[must_use]
    pub fn replacing(&self, kind: &GroupKind) -> Replace {
        if assign::is_protected(kind) {
            return Replace::Never;
        }
        let by_kind = if is_replaced_by_itself(kind) { Replace::Recreate } else { Replace::Never };
        self.replace.unwrap_or(by_kind)
    }
}

/// Whether somebody asked, on the live object with this metadata, that hands are kept off it.
#[must_use]
pub fn is_hands_off(metadata: &Json) -> bool {
    let annotation = |name| metadata.get("annotations").and_then(|all| all.get(name)).and_then(Json::as_str);
    let says = |name, word| annotation(name).is_some_and(|value| is(value, word));
    says(RECONCILE, "disabled") || says(FLUX_RECONCILE, "disabled") || says(FLUX_APPLY, "Ignore")
}

/// Whether objects of a kind are made anew where a field can't be changed, without being asked: nothing is lost with
/// them that their manifest does not bring back.
#[must_use]
pub fn is_replaced_by_itself(kind: &GroupKind) -> bool {
    kind.is("batch", "Job")
        || kind.is("rbac.authorization.k8s.io", "RoleBinding")
        || kind.is("rbac.authorization.k8s.io", "ClusterRoleBinding")
}

fn is(value: &str, word: &str) -> bool {
    value.trim().eq_ignore_ascii_case(word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(annotations: &[(&str, &str)]) -> Json {
        let annotations: Json = annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"metadata": {"name": "x", "annotations": annotations}})
    }

    #[test]
    fn words_of_others_are_read_as_the_same() {
        let prune = |name, value| Wishes::read(&with(&[(name, value)])).unwrap().prune;
        assert_eq!(prune(PRUNE, "keep"), Prune::Keep);
        assert_eq!(prune(PRUNE, "confirm"), Prune::Confirm);
        assert_eq!(prune(PRUNE, "first"), Prune::First);
        assert_eq!(prune(HELM_POLICY, "keep"), Prune::Keep);
        assert_eq!(prune(ARGO_OPTIONS, "Validate=false, Prune=false"), Prune::Keep);
        assert_eq!(prune(ARGO_OPTIONS, "Delete=confirm"), Prune::Confirm);
        assert_eq!(prune(FLUX_PRUNE, "disabled"), Prune::Keep);
        assert_eq!(prune(FLUX_PRUNE, "enabled"), Prune::Delete);
        let replace = |name, value| Wishes::read(&with(&[(name, value)])).unwrap().replace;
        assert_eq!(replace(REPLACE, "orphan"), Some(Replace::Orphan));
        assert_eq!(replace(ARGO_OPTIONS, "Replace=true"), Some(Replace::Recreate));
        assert_eq!(replace(FLUX_FORCE, "Enabled"), Some(Replace::Recreate));
        assert!(Wishes::read(&with(&[(APPLY, "createOnly")])).unwrap().create_only);
        assert!(Wishes::read(&with(&[(FLUX_APPLY, "IfNotPresent")])).unwrap().create_only);
        assert_eq!(Wishes::read(&json!({})).unwrap(), Wishes::default());
    }

    #[test]
    fn own_words_win_and_must_be_known() {
        let both = with(&[(HELM_POLICY, "keep"), (PRUNE, "confirm")]);
        assert_eq!(Wishes::read(&both).unwrap().prune, Prune::Confirm);
        for name in [PRUNE, APPLY, REPLACE, HOOK_DELETE] {
            let bad = Wishes::read(&with(&[(name, "perhaps")])).unwrap_err();
            assert!(bad.to_string().contains(name), "{bad}");
        }
        // Live, what can't be read is not the author's doing.
        let live = with(&[(PRUNE, "perhaps"), (HELM_POLICY, "keep")]);
        assert_eq!(Wishes::read_live(&live).prune, Prune::Keep);
    }

    #[test]
    fn hooks_go_as_they_ask() {
        let goes = |value| {
            let wishes = Wishes::read(&with(&[(HOOK_DELETE, value)])).unwrap();
            (wishes.delete_succeeded, wishes.delete_failed)
        };
        assert_eq!(goes("succeeded"), (true, false));
        assert_eq!(goes("failed"), (false, true));
        assert_eq!(goes("succeeded, failed"), (true, true));
        assert!(Wishes::read(&with(&[(HOOK_DELETE, "succeeded,")])).is_err());
    }

    #[test]
    fn what_holds_data_is_never_replaced() {
        let recreate = Wishes { replace: Some(Replace::Recreate), ..Wishes::default() };
        let kind = |api, kind| GroupKind::of(api, kind);
        assert_eq!(recreate.replacing(&kind("v1", "PersistentVolumeClaim")), Replace::Never);
        assert_eq!(recreate.replacing(&kind("v1", "Namespace")), Replace::Never);
        assert_eq!(recreate.replacing(&kind("apps/v1", "StatefulSet")), Replace::Recreate);
        assert_eq!(Wishes::default().replacing(&kind("apps/v1", "StatefulSet")), Replace::Never);
        assert_eq!(Wishes::default().replacing(&kind("batch/v1", "Job")), Replace::Recreate);
        let never = Wishes { replace: Some(Replace::Never), ..Wishes::default() };
        assert_eq!(never.replacing(&kind("batch/v1", "Job")), Replace::Never);
    }

    #[test]
    fn hands_off_is_asked_for_on_the_live_object() {
        assert!(is_hands_off(&with(&[(RECONCILE, "disabled")])["metadata"]));
        assert!(is_hands_off(&with(&[(FLUX_RECONCILE, "disabled")])["metadata"]));
        assert!(!is_hands_off(&with(&[(FLUX_RECONCILE, "enabled")])["metadata"]));
        assert!(!is_hands_off(&json!({})));
    }
}
