//! What a spoke says happened: always about one generation, variant and variables.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Identity};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl $name {
            /// All words, in order.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word, as everywhere in Drover.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// How far a bundle's objects are on their way into the cluster.
    Sync {
        /// Assigned, and nothing is known of it yet.
        Pending,
        /// Objects are being applied.
        Applying,
        /// Every object is as assigned.
        Applied,
        /// Something must happen first: a dependency, a kind that does not exist yet, a webhook.
        Waiting,
        /// The cluster refused something for good.
        Failed,
        /// The bundle is on its way out.
        Removing,
    }
}

words! {
    /// How the bundle's objects are doing.
    Health {
        /// On its way.
        Progressing,
        /// As it should be.
        Healthy,
        /// In trouble.
        Degraded,
        /// Nothing is known.
        Unknown,
    }
}

/// What happened to one bundle in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Full name of the bundle.
    pub bundle: String,
    /// The generation that this report is about.
    pub generation: u64,
    /// The variant it is about; `None` once the bundle is removed.
    pub variant: Option<Digest>,
    /// The digest of the variables it is about.
    pub variables: Digest,
    /// Sync.
    pub sync: Sync,
    /// Health.
    pub health: Health,
    /// Whether somebody changed an object and it was not put right yet.
    pub drifted: bool,
    /// Whether the spoke was told to keep its hands off.
    pub suspended: bool,
    /// Whether the bundle was Healthy in this cluster at least once.
    pub installed: bool,
    /// Objects that the bundle owns there.
    pub objects: u64,
    /// What is wrong, worst first, at most `limits::PROBLEMS_PER_REPORT_MAX`.
    pub problems: Vec<ObjectProblem>,
    /// Problems beyond those.
    pub problems_more: u64,
    /// Since when it is so, in milliseconds of the spoke's clock since 1970.
    pub since_unix_millis: u64,
}

/// Something wrong with one object, or with the bundle as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectProblem {
    /// The object; `None` for the bundle as a whole.
    pub object: Option<Identity>,
    /// Whether trying again can help.
    pub is_final: bool,
    /// What is wrong, for people, at most `limits::PROBLEM_BYTES_MAX` bytes. Never object content.
    pub message: String,
}

impl Report {
    /// The digest of the report; equal reports need not be sent twice.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Writing plain maps to memory has no way to fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether the report is about exactly this content.
    #[must_use]
    pub fn is_about(&self, variant: Digest, variables: Digest) -> bool {
        self.variant == Some(variant) && self.variables == variables
    }
}

/// Cuts a text to at most `limits::PROBLEM_BYTES_MAX` bytes at a character border.
#[must_use]
pub fn cut(text: &str) -> String {
    let mut end = text.len().min(crate::limits::PROBLEM_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
