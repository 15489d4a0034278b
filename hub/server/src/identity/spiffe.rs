//! The names in certificates: `spiffe://<hub id>/cluster/<name>` and
//! `spiffe://<hub id>/operator/<role>/<name>`.

use std::fmt;

use proto_model::limits;

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read and command.
    Admin,
    /// Read.
    Viewer,
}

impl Role {
    /// The role as it stands in a certificate.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "admin" => Ok(Self::Admin),
            "viewer" => Ok(Self::Viewer),
            other => Err(format!("`{other}` is no role; roles are admin and viewer")),
        }
    }
}

/// Whom a certificate of this hub names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The spoke of a cluster.
    Cluster(String),
    /// A person or program that operates the hub.
    Operator {
        /// What they may do.
        role: Role,
        /// Who they are, for the audit trail.
        name: String,
    },
}

impl Name {
    /// The name as a URI of the given hub.
    #[must_use]
    pub fn uri(&self, hub_id: &str) -> String {
        match self {
            Self::Cluster(name) => format!("spiffe://{hub_id}/cluster/{name}"),
            Self::Operator { role, name } => format!("spiffe://{hub_id}/operator/{role}/{name}"),
        }
    }

    /// Reads a URI. `None`: of another hub, or of a form that this hub never makes.
    #[must_use]
    pub fn parse(uri: &str, hub_id: &str) -> Option<Self> {
        let path = uri.strip_prefix("spiffe://")?.strip_prefix(hub_id)?.strip_prefix('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["cluster", name] if is_plain(name) => Some(Self::Cluster((*name).to_owned())),
            ["operator", role, name] if is_plain(name) => {
                Some(Self::Operator { role: role.parse().ok()?, name: (*name).to_owned() })
            }
            _ => None,
        }
    }
}

/// Whether a text can stand as the last part of a URI: letters, digits, `-`, `.` and `_`, neither
/// empty nor longer than a cluster's name.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::CLUSTER_NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn names_round_trip() {
        let names = [
            Name::Cluster("edge-1".into()),
            Name::Operator { role: Role::Admin, name: "ann".into() },
            Name::Operator { role: Role::Viewer, name: "ci.bot_2".into() },
        ];
        for name in names {
            assert_eq!(Name::parse(&name.uri("ab12"), "ab12"), Some(name));
        }
    }

    #[test]
    fn foreign_and_odd_names_are_nobody() {
        for uri in [
            "spiffe://ab13/cluster/a",
            "spiffe://ab1/cluster/a",
            "spiffe://ab12x/cluster/a",
            "spiffe://ab12/cluster/",
            "spiffe://ab12/cluster/a/b",
            "spiffe://ab12/operator/root/a",
            "spiffe://ab12/operator/admin",
            "spiffe://ab12/node/a",
            "https://ab12/cluster/a",
            "spiffe://ab12/cluster/a b",
        ] {
            assert_eq!(Name::parse(uri, "ab12"), None, "{uri}");
        }
    }
}
