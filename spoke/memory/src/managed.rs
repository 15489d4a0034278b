//! `metadata.managedFields`: who owns which field.

use serde_json::{Value as Json, json};

use crate::fields::Fields;
use crate::merge::Changes;

/// One manager's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    /// `Apply` or `Update`.
    pub(crate) operation: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: String,
    pub(crate) fields: Fields,
}

impl Entry {
    fn is_of(&self, manager: &str, operation: &str) -> bool {
        self.manager == manager && self.operation == operation && self.subresource.is_empty()
    }
}

/// Who changes an object other than by applying it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Editor<'a> {
    pub(crate) manager: &'a str,
    /// What of the object is written to; empty: the object itself.
    pub(crate) subresource: &'a str,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managers(Vec<Entry>);

impl Managers {
    /// Gives to an editor the fields that it changed.
    pub(crate) fn edited(&mut self, editor: Editor<'_>, api_version: &str, changes: &Changes, time: &str) {
        let is_it = |entry: &Entry| {
            entry.manager == editor.manager && entry.operation == "Update" && entry.subresource == editor.subresource
        };
        let mut own = self.0.iter().position(is_it).map(|at| self.0.remove(at)).unwrap_or(Entry {
            manager: editor.manager.into(),
            operation: "Update".into(),
            api_version: String::new(),
            subresource: editor.subresource.into(),
            time: String::new(),
            fields: Fields::default(),
        });
        for entry in &mut self.0 {
            entry.fields.subtract(&changes.changed);
            entry.fields.subtract(&changes.removed);
        }
        let before = own.fields.clone();
        own.fields.subtract(&changes.removed);
        own.fields.extend(&changes.changed);
        if own.fields != before || own.api_version != api_version {
            own.api_version = api_version.into();
            own.time = time.into();
        }
        self.0.push(own);
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Reads an object's managers.
    pub(crate) fn read(object: &Json) -> Self {
        let text = |entry: &Json, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        Self(
            entries
                .map(|entry| Entry {
                    manager: text(entry, "manager"),
                    operation: text(entry, "operation"),
                    api_version: text(entry, "apiVersion"),
                    subresource: text(entry, "subresource"),
                    time: text(entry, "time"),
                    fields: Fields::from_json(&entry["fieldsV1"]),
                })
                .collect(),
        )
    }

    /// Writes them into an object.
    pub(crate) fn write(&self, object: &mut Json) {
        let entries: Vec<Json> = self
            .0
            .iter()
            .map(|entry| {
                let mut json = json!({
                    "manager": entry.manager, "operation": entry.operation,
                    "apiVersion": entry.api_version, "time": entry.time,
                    "fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_json(),
                });
                if !entry.subresource.is_empty() {
                    json["subresource"] = entry.subresource.as_str().into();
                }
                json
            })
            .collect();
        object["metadata"]["managedFields"] = entries.into();
    }

    /// What a manager owns.
    pub(crate) fn fields(&self, manager: &str, operation: &str) -> Option<&Fields> {
        self.0.iter().find(|entry| entry.is_of(manager, operation)).map(|entry| &entry.fields)
    }

    /// What all but one manager own.
    pub(crate) fn of_others(&self, manager: &str, operation: &str) -> Fields {
        let mut all = Fields::default();
        for entry in self.0.iter().filter(|entry| !entry.is_of(manager, operation)) {
            all.extend(&entry.fields);
        }
        all
    }

    /// Takes fields away from all but one manager; who owns nothing any more is dropped.
    pub(crate) fn take(&mut self, manager: &str, operation: &str, fields: &Fields) {
        for entry in self.0.iter_mut().filter(|entry| !entry.is_of(manager, operation)) {
            entry.fields.subtract(fields);
        }
        self.0.retain(|entry| entry.is_of(manager, operation) || !entry.fields.is_empty());
    }

    /// Sets what a manager owns. The time changes only with the fields.
    pub(crate) fn set(&mut self, manager: &str, operation: &str, api_version: &str, fields: Fields, time: &str) {
        let found = self.0.iter_mut().find(|entry| entry.is_of(manager, operation));
        match found {
            Some(entry) if entry.fields == fields && entry.api_version == api_version => {}
            Some(entry) => {
                entry.fields = fields;
                entry.api_version = api_version.into();
                entry.time = time.into();
            }
            None => self.0.push(Entry {
                manager: manager.into(),
                operation: operation.into(),
                api_version: api_version.into(),
                subresource: String::new(),
                time: time.into(),
                fields,
            }),
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }
}
