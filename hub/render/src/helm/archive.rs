//! Packed charts, which may come from anybody.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path};
use std::sync::Arc;

use flate2::read::GzDecoder;
use proto_model::limits;
use tar::{Archive, EntryType};

use crate::content::Files;

/// The files of a packed chart, by their path in the chart.
///
/// # Errors
/// What is wrong with the archive, for the end of a sentence.
pub(super) fn unpack(bytes: &[u8]) -> Result<Files, String> {
    unpack_within(bytes, limits::BUNDLE_BYTES_MAX)
}

fn unpack_within(bytes: &[u8], max: usize) -> Result<Files, String> {
    // A bomb is seen by what comes out of it.
    let room = u64::try_from(max).unwrap_or(u64::MAX).saturating_mul(2);
    let mut archive = Archive::new(GzDecoder::new(bytes).take(room));
    let bad = |error: std::io::Error| format!("is no packed chart, or is packed larger than can be read: {error}");
    let (mut files, mut total, mut entries) = (BTreeMap::new(), 0usize, 0usize);
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        entries += 1;
        if entries > limits::CHART_FILES_MAX {
            return Err(format!("has more than {} files", limits::CHART_FILES_MAX));
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
        let left = u64::try_from(max.saturating_sub(total)).unwrap_or(u64::MAX).saturating_add(1);
        entry.by_ref().take(left).read_to_end(&mut content).map_err(bad)?;
        total = total.saturating_add(content.len());
        if total > max {
            return Err(format!("unpacks to more than {max} bytes"));
        }
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

    #[test]
    fn files_lose_the_folder_of_the_chart() {
        let files = unpack(&packed(&[
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
            let refused = unpack(&packed(&[(path, kind, b"")])).unwrap_err();
            assert!(refused.contains(word), "{path}: {refused}");
        }
        assert!(unpack(b"no archive").is_err());
        assert!(unpack(&packed(&[("app/x", EntryType::Regular, b"abc")])[..20]).is_err());
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb =
            packed(&[("app/x", EntryType::Regular, &[0; 100_000]), ("app/y", EntryType::Regular, &[0; 100_000])]);
        assert!(bomb.len() < 20_000);
        assert!(unpack_within(&bomb, 150_000).unwrap_err().contains("unpacks to more than 150000 bytes"));
        assert!(unpack_within(&bomb, 50_000).unwrap_err().contains("unpacks to more than 50000 bytes"));
        // Cut off while it is unpacked: what follows is not even looked at.
        assert!(unpack_within(&bomb, 10_000).is_err());
    }
}
