//! Packed charts, which may come from anybody.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path};
use std::sync::Arc;

use flate2::read::GzDecoder;
use proto_model::limits;
use tar::{Archive, EntryType};

use crate::content::Files;

/// What the headers of a packed chart may take beside its content, in bytes.
const HEADERS_BYTES: usize = 64 * 1024;

/// What a chart with all its subcharts may still grow by, so that not each of them may be as large as
/// the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    bytes: usize,
    files: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: limits::BUNDLE_BYTES_MAX, files: limits::CHART_FILES_MAX }
    }
}

impl Room {
    /// Takes a file.
    ///
    /// # Errors
    /// It is too much, in words for the end of a sentence.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), String> {
        match (self.files.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(files), Some(bytes)) => {
                *self = Self { bytes, files };
                Ok(())
            }
            _ => Err(too_much()),
        }
    }
}

fn too_much() -> String {
    let (files_max, bytes_max) = (limits::CHART_FILES_MAX, limits::BUNDLE_BYTES_MAX);
    format!("with the chart and its subcharts is more than {files_max} files or {bytes_max} bytes; split it")
}

/// The files of a packed chart, by their path in the chart.
///
/// # Errors
/// What is wrong with the archive, for the end of a sentence.
pub(super) fn unpack(bytes: &[u8], room: &mut Room) -> Result<Files, String> {
    // A bomb is seen by what comes out of it; every entry has a header beside its content.
    let max = room.bytes.saturating_mul(2).saturating_add(HEADERS_BYTES);
    let mut archive = Archive::new(GzDecoder::new(bytes).take(u64::try_from(max).unwrap_or(u64::MAX)));
    let bad = |error: std::io::Error| format!("is no packed chart, or is packed larger than can be read: {error}");
    let (mut files, mut entries) = (BTreeMap::new(), 0usize);
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        entries += 1;
        if entries > limits::CHART_FILES_MAX {
            return Err(too_much());
        }
        let path = entry.path().map_err(bad)?.into_owned();
        let inside = within(&path)?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader | EntryType::XHeader => continue,
            _ => {
                return Err(format!(
                    "holds {}, which is neither a file nor a folder; links are not followed",
                    shown(&path)
                ));
            }
        }
        // Every file of a chart lies in the chart's own folder.
        let Some(inside) = inside else { continue };
        let mut content = Vec::new();
        let left = u64::try_from(room.bytes).unwrap_or(u64::MAX).saturating_add(1);
        entry.by_ref().take(left).read_to_end(&mut content).map_err(bad)?;
        room.take(content.len())?;
        files.insert(inside, Arc::from(content));
    }
    Ok(files)
}

/// The path below the chart's own folder; `None` for what lies beside it.
fn within(path: &Path) -> Result<Option<String>, String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| format!("holds {}, which is no UTF-8", shown(path)))?);
            }
            Component::CurDir => {}
            _ => return Err(format!("holds {}, which leaves its folder", shown(path))),
        }
    }
    Ok((parts.len() > 1).then(|| parts[1..].join("/")))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    fn packed(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, kind, content) in entries {
            let mut header = Header::new_old();
            // The builder refuses what an attacker would write.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, *content).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn whole(bytes: &[u8]) -> Result<Files, String> {
        unpack(bytes, &mut Room::default())
    }

    #[test]
    fn files_lose_the_folder_of_the_chart() {
        let files = whole(&packed(&[
            ("app/Chart.yaml", EntryType::Regular, b"name: app"),
            ("app/templates/a.yaml", EntryType::Regular, b"x"),
        ]))
        .unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["Chart.yaml", "templates/a.yaml"]);
    }

    #[test]
    fn hostile_archives_are_refused() {
        for (path, kind, word) in [
            ("../../etc/x", EntryType::Regular, "leaves its folder"),
            ("/etc/x", EntryType::Regular, "leaves its folder"),
            ("app/x", EntryType::Symlink, "links are not followed"),
            ("app/x", EntryType::Link, "links are not followed"),
            ("app/x", EntryType::Fifo, "neither a file nor a folder"),
        ] {
            let refused = whole(&packed(&[(path, kind, b"")])).unwrap_err();
            assert!(refused.contains(word), "{path}: {refused}");
        }
        assert!(whole(b"no archive").is_err());
        assert!(whole(&packed(&[("app/x", EntryType::Regular, b"abc")])[..20]).is_err());
    }

    #[test]
    fn archives_share_one_room() {
        let one = packed(&[("app/x", EntryType::Regular, &[0; 60_000])]);
        let mut room = Room { bytes: 100_000, files: 10 };
        assert!(unpack(&one, &mut room).is_ok());
        assert!(unpack(&one, &mut room).unwrap_err().contains("is more than"));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb =
            packed(&[("app/x", EntryType::Regular, &[0; 100_000]), ("app/y", EntryType::Regular, &[0; 100_000])]);
        assert!(bomb.len() < 20_000);
        let within = |bytes| unpack(&bomb, &mut Room { bytes, files: 10 });
        assert!(within(200_000).is_ok());
        assert!(within(150_000).unwrap_err().contains("is more than"));
        assert!(within(50_000).unwrap_err().contains("is more than"));
        assert!(unpack(&bomb, &mut Room { bytes: 1_000_000, files: 1 }).is_err());
        // Cut off while it is unpacked: what follows is not even looked at.
        assert!(within(10_000).is_err());
    }
}
