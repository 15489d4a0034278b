//! Answers: what a spoke says when it is asked.

use proto_model::ask::{Answer, BundleDiff, Change, FieldDiff, ObjectDiff};
use proto_model::limits;

use super::report::{read_identity, write_identity};
use super::{WireError, at_most, optional_bytes, optional_digest, required, some_text};
use crate::sync as msg;
use crate::sync::answer::Outcome;
use crate::sync::object_diff::Change as Kind;

impl From<&Answer> for msg::Answer {
    fn from(answer: &Answer) -> Self {
        let outcome = match &answer.outcome {
            Ok(diff) => Outcome::Diff(write_diff(diff)),
            Err(why) => Outcome::Refused(why.clone()),
        };
        Self { id: answer.id, outcome: Some(outcome) }
    }
}

impl TryFrom<msg::Answer> for Answer {
    type Error = WireError;

    fn try_from(answer: msg::Answer) -> Result<Self, WireError> {
        let outcome = match required("answer.outcome", answer.outcome)? {
            Outcome::Diff(diff) => Ok(read_diff(diff)?),
            Outcome::Refused(why) => Err(some_text("answer.refused", why, limits::FAILURE_BYTES_MAX)?),
        };
        Ok(Self { id: answer.id, outcome })
    }
}

fn write_diff(diff: &BundleDiff) -> msg::BundleDiff {
    let objects = diff.objects.iter().map(|one| msg::ObjectDiff {
        object: Some(write_identity(&one.object)),
        change: Some(match &one.change {
            Change::Missing => Kind::Missing(msg::Missing {}),
            Change::Unwanted => Kind::Unwanted(msg::Unwanted {}),
            Change::Unknown(why) => Kind::Unknown(why.clone()),
            Change::Fields { fields, more } => {
                let fields = fields.iter().map(|one| msg::FieldDiff {
                    pointer: one.pointer.clone(),
                    live: one.live.clone(),
                    bound: one.bound.clone(),
                });
                Kind::Fields(msg::Fields { fields: fields.collect(), more: *more })
            }
        }),
    });
    msg::BundleDiff {
        generation: diff.generation,
        variant: optional_bytes(diff.variant.as_ref()),
        objects: objects.collect(),
        same: diff.same,
        unseen: diff.unseen,
    }
}

fn read_diff(diff: msg::BundleDiff) -> Result<BundleDiff, WireError> {
    at_most("answer.objects", diff.objects.len(), limits::ASK_OBJECTS_MAX)?;
    Ok(BundleDiff {
        generation: diff.generation,
        variant: optional_digest("answer.variant", &diff.variant)?,
        objects: diff.objects.into_iter().map(read_object).collect::<Result<_, _>>()?,
        same: diff.same,
        unseen: diff.unseen,
    })
}

fn read_object(object: msg::ObjectDiff) -> Result<ObjectDiff, WireError> {
    let change = match required("object.change", object.change)? {
        Kind::Missing(_) => Change::Missing,
        Kind::Unwanted(_) => Change::Unwanted,
        Kind::Unknown(why) => Change::Unknown(some_text("object.unknown", why, limits::FAILURE_BYTES_MAX)?),
        Kind::Fields(msg::Fields { fields, more }) => {
            at_most("object.fields", fields.len(), limits::ASK_FIELDS_MAX)?;
            Change::Fields { fields: fields.into_iter().map(read_field).collect::<Result<_, _>>()?, more }
        }
    };
    Ok(ObjectDiff { object: read_identity(required("object.object", object.object)?)?, change })
}

fn read_field(field: msg::FieldDiff) -> Result<FieldDiff, WireError> {
    at_most("field.pointer", field.pointer.len(), limits::ASK_POINTER_BYTES_MAX)?;
    for value in [&field.live, &field.bound].into_iter().flatten() {
        at_most("field.value", value.len(), limits::ASK_VALUE_BYTES_MAX)?;
    }
    Ok(FieldDiff { pointer: field.pointer, live: field.live, bound: field.bound })
}
