//! Planted bugs: lies told between the cores, to prove that the invariants see something. None of
//! them is in the cores themselves.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Reports are taken as if they were about the present generation.
    OlderHealthCounted,
    /// A spoke takes changes whatever their fence.
    FenceSkipped,
    /// A spoke deletes what bears its mark and is not named, whatever inventory and permit say.
    PruneWithoutPermit,
    /// The ledger is called durable before it is.
    LedgerAfterApply,
    /// A spoke says Applied as soon as it begins.
    AppliedBeforeApply,
    /// Objects are deleted by name, whichever object bears it now.
    DeleteByName,
    /// Deltas name the root that they lead to as the one that they build on.
    WrongBase,
    /// The planner works with a guard that lets everything go.
    GuardSkipped,
    /// A spoke sees its own mark on every object.
    DoubleOwner,
    /// Some changes of assignments never reach a stream.
    RetargetLost,
    /// The log loses its last entry when the hub is killed.
    LogTailLost,
    /// What goes over from one bundle to another is deleted instead.
    HandOverDeletes,
    /// A spoke sees a mark on what nobody marked.
    ForeignAdopted,
    /// A spoke that searches for its marks is told that whatever bears one was applied.
    MarksBelieved,
    /// What a suspended bundle had applied is applied again.
    SuspendedWritten,
    /// What asks to be kept is deleted instead of let go.
    KeepIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::OlderHealthCounted,
        Self::FenceSkipped,
        Self::PruneWithoutPermit,
        Self::LedgerAfterApply,
        Self::AppliedBeforeApply,
        Self::DeleteByName,
        Self::WrongBase,
        Self::GuardSkipped,
        Self::DoubleOwner,
        Self::RetargetLost,
        Self::LogTailLost,
        Self::HandOverDeletes,
        Self::ForeignAdopted,
        Self::MarksBelieved,
        Self::SuspendedWritten,
        Self::KeepIgnored,
    ];
}
