//! Kustomize patches of a bundle and its overrides, with the files that they name put in.

use std::sync::Arc;

use proto_model::{Digest, limits};
use serde_json::Value as Json;

use super::recipe::{Made, Maker};
use super::tree::{Found, Reader, join};

/// A patch over what was rendered, shared by all combinations that it is part of.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The file that declares it, relative to the source's path.
    pub file: String,
    /// The line where it is declared, from 1.
    pub line: u32,
    /// What it is called: `spec.patches.0`, with the file that it names.
    pub name: String,
    /// As it is written in a kustomization, with `patch` in place of `path`.
    pub content: Json,
    /// Digest of its content.
    pub(super) digest: Digest,
}

impl Patch {
    /// A patch that is declared at a place.
    #[must_use]
    pub fn new(file: &str, line: u32, name: &str, content: Json) -> Self {
        let digest = Digest::of_json(&content);
        Self { file: file.to_owned(), line, name: name.to_owned(), content, digest }
    }
}

/// What the patches of one bundle took so far. A file counts as often as it is named, since the
/// program is given it as often.
#[derive(Debug, Default)]
pub(super) struct Room {
    patches: usize,
    bytes: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.patches > limits::PATCHES_PER_BUNDLE_MAX || self.bytes > limits::PATCH_BYTES_PER_BUNDLE_MAX
    }

    fn takes(&mut self, bytes: usize) -> Result<(), String> {
        let (patches_max, bytes_max) = (limits::PATCHES_PER_BUNDLE_MAX, limits::PATCH_BYTES_PER_BUNDLE_MAX);
        self.patches += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_full() {
            return Err(format!(
                "the bundle has more than {patches_max} patches or {bytes_max} bytes of them, each file counted as often \
                 as it is named; patch less, or make it a kustomization"
            ));
        }
        Ok(())
    }
}

impl Maker<'_> {
    /// Patches as Kustomize takes them, with the files that they name put in.
    pub(super) fn patches(&self, field: &str, patches: &[Json], room: &mut Room, made: &mut Made) -> Vec<Arc<Patch>> {
        let mut inlined = Vec::new();
        let mut reader = Reader::new(self.snapshot);
        for (at, patch) in patches.iter().enumerate() {
            if room.is_full() {
                break;
            }
            let field = format!("{field}.{at}");
            let Some(map) = patch.as_object() else {
                let message = "a patch is a map with `patch` or `path`, and `target`, as in a kustomization";
                made.defects.push(self.item.defect(&field, message));
                continue;
            };
            let (mut map, mut name) = (map.clone(), field.clone());
            let mut bytes = None;
            if let Some(path) = map.remove("path") {
                let target = path.as_str().and_then(|path| join(&made.recipe.path, path));
                let Some(target) = target.filter(|target| reader.found(target) == Found::File) else {
                    made.defects.push(self.item.defect(&field, format!("patch file {path} does not exist")));
                    continue;
                };
                bytes = reader.content(&target);
                if bytes.is_none() {
                    continue;
                }
                name = format!("{field} ({target})");
            }
            let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
            if let Err(message) = room.takes(length) {
                made.defects.push(self.item.defect(&field, message));
                continue;
            }
            if let Some(bytes) = bytes {
                map.insert("patch".into(), String::from_utf8_lossy(&bytes).into_owned().into());
            }
            let (file, line) = (&self.item.file, self.item.line_of(&field));
            inlined.push(Arc::new(Patch::new(file, line, &name, Json::Object(map))));
        }
        made.asks.append(&mut reader.asks);
        made.defects.append(&mut reader.defects);
        inlined
    }
}
