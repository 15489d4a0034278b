//! Deltas and what is in them: entries, assignments, variables, permits, parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proto_model::assign::Entry;
use proto_model::delta::{BodyPart, Delta, VariantPart};
use proto_model::name::check_full_bundle;
use proto_model::{Assignment, Digest, GroupKind, Permit, Value, Variables, limits};

use super::{WireError, at_most, digest, digest_bytes, optional_bytes, optional_digest, required, some_text};
use crate::sync as msg;

impl From<&Delta> for msg::Delta {
    fn from(delta: &Delta) -> Self {
        Self {
            fence: Some((&delta.fence).into()),
            fence_mac: Bytes::copy_from_slice(&delta.fence_mac),
            base: digest_bytes(&delta.base),
            root: digest_bytes(&delta.root),
            set: delta.set.iter().map(|(bundle, entry)| write_entry(bundle, entry)).collect(),
            forget: delta.forget.clone(),
        }
    }
}

impl TryFrom<msg::Delta> for Delta {
    type Error = WireError;

    fn try_from(delta: msg::Delta) -> Result<Self, WireError> {
        let fence = required("delta.fence", delta.fence)?;
        if fence.hub_id.is_empty() {
            return Err(WireError::Missing("delta.fence.hub_id"));
        }
        at_most("delta.fence_mac", delta.fence_mac.len(), limits::FENCE_MAC_BYTES_MAX)?;
        at_most("delta.set", delta.set.len(), limits::BUNDLES_PER_CLUSTER_MAX)?;
        let mut set = BTreeMap::new();
        let mut named = BTreeSet::new();
        for entry in delta.set {
            let (bundle, entry) = read_entry(entry)?;
            distinct("delta.set", &mut named, &bundle)?;
            set.insert(bundle, entry);
        }
        for bundle in &delta.forget {
            check_full_bundle(bundle)?;
            distinct("delta.forget", &mut named, bundle)?;
        }
        Ok(Self {
            fence: fence.try_into()?,
            fence_mac: delta.fence_mac.into(),
            base: digest("delta.base", &delta.base)?,
            root: digest("delta.root", &delta.root)?,
            set,
            forget: delta.forget,
        })
    }
}

fn distinct(field: &'static str, named: &mut BTreeSet<String>, name: &str) -> Result<(), WireError> {
    if named.insert(name.to_owned()) { Ok(()) } else { Err(WireError::Twice { field, name: name.to_owned() }) }
}

fn write_entry(bundle: &str, entry: &Entry) -> msg::Entry {
    let kind = match entry {
        Entry::Run(assignment) => msg::entry::Kind::Run(assignment.into()),
        Entry::Remove(permit) => msg::entry::Kind::Remove(permit.into()),
    };
    msg::Entry { bundle: bundle.to_owned(), kind: Some(kind) }
}

fn read_entry(entry: msg::Entry) -> Result<(String, Entry), WireError> {
    check_full_bundle(&entry.bundle)?;
    let value = match required("entry.kind", entry.kind)? {
        msg::entry::Kind::Run(assignment) => Entry::Run(assignment.try_into()?),
        msg::entry::Kind::Remove(permit) => Entry::Remove(permit.try_into()?),
    };
    Ok((entry.bundle, value))
}

impl From<&Assignment> for msg::Assignment {
    fn from(assignment: &Assignment) -> Self {
        Self {
            variant: digest_bytes(&assignment.variant),
            variables: write_variables(&assignment.variables),
            permit: Some((&assignment.permit).into()),
            rules: Some(assignment.rules.into()),
        }
    }
}

impl TryFrom<msg::Assignment> for Assignment {
    type Error = WireError;

    fn try_from(assignment: msg::Assignment) -> Result<Self, WireError> {
        Ok(Self {
            variant: digest("assignment.variant", &assignment.variant)?,
            variables: read_variables(assignment.variables)?,
            permit: required("assignment.permit", assignment.permit)?.try_into()?,
            rules: required("assignment.rules", assignment.rules)?.try_into()?,
        })
    }
}

fn write_variables(variables: &Variables) -> Vec<msg::Variable> {
    let write = |(name, value): (&String, &Value)| {
        use msg::variable::Value as Wire;
        let value = match value.clone() {
            Value::Text(text) => Wire::Text(text),
            Value::Number(text) => Wire::Number(text),
            Value::Bool(value) => Wire::Boolean(value),
        };
        msg::Variable { name: name.clone(), value: Some(value) }
    };
    variables.0.iter().map(write).collect()
}

fn read_variables(variables: Vec<msg::Variable>) -> Result<Variables, WireError> {
    use msg::variable::Value as Wire;
    let mut table = BTreeMap::new();
    for variable in variables {
        let name = some_text("variable.name", variable.name, limits::VARIABLE_BYTES_MAX)?;
        let value = match required("variable.value", variable.value)? {
            Wire::Text(text) => {
                at_most("variable.text", text.len(), limits::VARIABLE_BYTES_MAX)?;
                Value::Text(text)
            }
            Wire::Number(text) => Value::Number(some_text("variable.number", text, limits::NUMBER_BYTES_MAX)?),
            Wire::Boolean(value) => Value::Bool(value),
        };
        if table.insert(name.clone(), value).is_some() {
            return Err(WireError::Twice { field: "assignment.variables", name });
        }
    }
    Ok(Variables(table))
}

impl From<&Permit> for msg::Permit {
    fn from(permit: &Permit) -> Self {
        let Permit { deletions, protected, confirmed, orphan } = permit;
        let protected = protected.iter().map(Into::into).collect();
        Self { deletions: *deletions, protected, confirmed: *confirmed, orphan: *orphan }
    }
}

impl TryFrom<msg::Permit> for Permit {
    type Error = WireError;

    fn try_from(permit: msg::Permit) -> Result<Self, WireError> {
        let mut protected = BTreeSet::new();
        for kind in permit.protected {
            let kind = GroupKind::try_from(kind)?;
            let name = kind.to_string();
            if !protected.insert(kind) {
                return Err(WireError::Twice { field: "permit.protected", name });
            }
        }
        Ok(Self { deletions: permit.deletions, protected, confirmed: permit.confirmed, orphan: permit.orphan })
    }
}

impl From<&VariantPart> for msg::VariantPart {
    fn from(part: &VariantPart) -> Self {
        Self {
            digest: digest_bytes(&part.digest),
            base: optional_bytes(part.base.as_ref()),
            data: Bytes::from_owner(Arc::clone(&part.bytes)),
        }
    }
}

impl TryFrom<msg::VariantPart> for VariantPart {
    type Error = WireError;

    fn try_from(part: msg::VariantPart) -> Result<Self, WireError> {
        let (digest, base) = read_part(&part.digest, &part.base)?;
        Ok(Self { digest, base, bytes: some_data(&part.data)? })
    }
}

impl From<&BodyPart> for msg::BodyPart {
    fn from(part: &BodyPart) -> Self {
        Self {
            digest: digest_bytes(&part.digest),
            base: optional_bytes(part.base.as_ref()),
            data: Bytes::from_owner(Arc::clone(&part.bytes)),
        }
    }
}

impl TryFrom<msg::BodyPart> for BodyPart {
    type Error = WireError;

    fn try_from(part: msg::BodyPart) -> Result<Self, WireError> {
        let (digest, base) = read_part(&part.digest, &part.base)?;
        Ok(Self { digest, base, bytes: some_data(&part.data)? })
    }
}

fn read_part(own: &[u8], base: &[u8]) -> Result<(Digest, Option<Digest>), WireError> {
    Ok((digest("part.digest", own)?, optional_digest("part.base", base)?))
}

fn some_data(data: &[u8]) -> Result<Arc<[u8]>, WireError> {
    if data.is_empty() { Err(WireError::Missing("part.data")) } else { Ok(data.into()) }
}
