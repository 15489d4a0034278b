//! Names of clusters, sources and bundles, checked where they come in.

use crate::limits;

/// A name that breaks a rule, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {name:?} {rule}")]
pub struct BadName {
    /// What was being named: `cluster`, `source` or `bundle`.
    pub what: &'static str,
    /// The name as it was given, cut to 80 bytes.
    pub name: String,
    /// The rule it breaks, as the end of a sentence.
    pub rule: String,
}

/// Checks a DNS label (RFC 1123): lower-case letters, digits and `-`, a letter or digit at both
/// ends, at most `bytes_max` bytes.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_label(what: &'static str, name: &str, bytes_max: usize) -> Result<(), BadName> {
    let refuse = |rule: String| Err(BadName { what, name: name.chars().take(80).collect(), rule });
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if word(*first) && word(*last) => {}
        _ => return refuse("must begin and end with a lower-case letter or digit".into()),
    }
    if !bytes.iter().all(|byte| word(*byte) || *byte == b'-') {
        return refuse("may hold only lower-case letters, digits and '-'".into());
    }
    if bytes.len() > bytes_max {
        return refuse(format!("is longer than {bytes_max} bytes"));
    }
    Ok(())
}

/// Checks a cluster's name.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_cluster(name: &str) -> Result<(), BadName> {
    check_label("cluster", name, limits::CLUSTER_NAME_BYTES_MAX)
}

/// Checks a source's name.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_source(name: &str) -> Result<(), BadName> {
    check_label("source", name, limits::SOURCE_NAME_BYTES_MAX)
}

/// Checks a bundle's own name, without its source.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_bundle(name: &str) -> Result<(), BadName> {
    check_label("bundle", name, limits::BUNDLE_NAME_BYTES_MAX)
}

/// Checks a bundle's full name, `source/bundle`.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_full_bundle(name: &str) -> Result<(), BadName> {
    let Some((source, bundle)) = name.split_once('/') else {
        return Err(BadName {
            what: "bundle",
            name: name.chars().take(80).collect(),
            rule: "must be a full name, SOURCE/BUNDLE".into(),
        });
    };
    check_source(source)?;
    check_bundle(bundle)
}

/// The field manager under which a spoke applies a bundle.
#[must_use]
pub fn field_manager(full_bundle: &str) -> String {
    format!("drover/{full_bundle}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "edge-seoul-014", "0"] {
            assert_eq!(check_cluster(good), Ok(()));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", &"a".repeat(64)] {
            assert!(check_cluster(bad).is_err(), "{bad}");
        }
        assert_eq!(check_full_bundle("main/web"), Ok(()));
        assert!(check_full_bundle("web").is_err());
    }
}
