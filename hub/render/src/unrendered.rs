//! Why there is no rendering, and whether the same input may give one later.

use hub_core::catalog::Defect;

/// Why there is no rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrendered {
    /// What is wrong, and where.
    pub defects: Vec<Defect>,
    /// Whether that lies with the machine, a program or the network rather than with the input alone, so that
    /// the same input may render in a minute: no room on the disk, no program, no time left, a server that
    /// does not answer.
    pub passes: bool,
}

impl From<Vec<Defect>> for Unrendered {
    /// What is wrong with the input stays wrong.
    fn from(defects: Vec<Defect>) -> Self {
        Self { defects, passes: false }
    }
}

impl Unrendered {
    /// Something that may be otherwise in a minute.
    pub(crate) fn passing(defect: Defect) -> Self {
        Self { defects: vec![defect], passes: true }
    }
}
