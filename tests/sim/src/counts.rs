//! How often each kind of fault and of ordinary event happened: a fault that never happens proves
//! nothing.

use std::collections::BTreeMap;

use spoke_core::port::Reason;

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];
        }
    };
}

counted! {
    /// A kind of fault.
    Fault {
        /// A stream was cut.
        StreamCut,
        /// Messages under way were lost with their stream.
        MessagesLost,
        /// A stream stood on both sides and carried nothing.
        HalfOpen,
        /// A message of an earlier stream arrived on a later one.
        LateToSpoke,
        /// A report arrived twice.
        Doubled,
        /// A message took long, and all behind it.
        Delayed,
        /// A spoke did not read for a while.
        SlowReader,
        /// A spoke was killed.
        SpokeKilled,
        /// A spoke was killed between two effects of one step.
        SpokeKilledAtEffect,
        /// A write of the ledger was cut short by that.
        StoreTorn,
        /// A write of the ledger failed.
        StoreFailed,
        /// The hub was killed.
        HubKilled,
        /// The entry under way was in the log nevertheless.
        EntryKept,
        /// The entry under way was lost.
        EntryLost,
        /// The hub began from a snapshot.
        HubFromSnapshot,
        /// A request was carried out and its answer lost.
        AnswerLost,
        /// A request was carried out after the spoke that made it had died.
        RequestOfTheDead,
        /// The API server was away.
        ServerAway,
        /// A watch began anew.
        WatchRestarted,
        /// Somebody changed an object.
        ForeignEdit,
        /// Somebody took the marks off an object.
        MarksRemoved,
        /// Somebody deleted an object.
        ForeignDelete,
        /// Somebody put another object in the place of one that was about to be deleted.
        ForeignReplace,
        /// Somebody made what a bundle is about to bring.
        ForeignMade,
        /// Somebody changed the text of a ConfigMap.
        ForeignTune,
        /// Somebody asked on an object that hands are kept off it.
        HandsOff,
        /// An API server asked everybody to wait.
        Throttling,
        /// A quota was used up.
        QuotaFull,
        /// A webhook was down.
        WebhookDown,
        /// A webhook refused dry-runs.
        DryRunsRefused,
        /// Somebody copied an object under another name, marks included.
        MarksCopied,
        /// A workload failed or stalled.
        WorkloadFailed,
        /// All records of a ledger were lost.
        LedgerLost,
        /// One pack of a ledger was lost.
        PackLost,
        /// The Lease was lost for a while.
        LeaseLost,
        /// The Lease went over to another spoke of the cluster.
        LeaseMoved,
        /// Another cluster answered under a name.
        Reinstalled,
        /// The hub's wall clock jumped.
        ClockJump,
    }
}

counted! {
    /// A kind of ordinary event.
    Event {
        /// A commit added an object.
        ObjectAdded,
        /// A commit changed an object.
        ObjectChanged,
        /// A commit removed an object.
        ObjectRemoved,
        /// A commit moved an object from one bundle to another.
        ObjectMoved,
        /// A commit put one object into two bundles.
        ObjectDoubled,
        /// A commit added a bundle.
        BundleAdded,
        /// A commit removed a bundle.
        BundleRemoved,
        /// A commit emptied a bundle.
        BundleEmptied,
        /// A commit gave a bundle another name.
        BundleRenamed,
        /// A commit changed the settings of a bundle.
        SettingsChanged,
        /// A commit changed a variable.
        VariableChanged,
        /// A commit changed a variable that is part of names.
        IdentityVariableChanged,
        /// A commit changed a guard.
        GuardChanged,
        /// A commit went back to an earlier content.
        Reverted,
        /// A commit changed labels.
        LabelsChanged,
        /// A commit no longer declared a cluster.
        ClusterUndeclared,
        /// The guard held something.
        Held,
        /// An operator let deletions go.
        Approved,
        /// An operator replaced a cluster.
        Replaced,
        /// An operator revoked a cluster.
        Revoked,
        /// An operator removed a cluster.
        Removed,
        /// A cluster left the fleet without its marks.
        Left,
        /// A cluster left the fleet without what it ran.
        LeftEmpty,
        /// An operator suspended something.
        Suspended,
        /// An operator ended a suspension.
        Resumed,
        /// A request of an operator was repeated.
        Repeated,
        /// An object was deleted by a spoke.
        Pruned,
        /// An object was deleted to be made anew.
        Recreated,
        /// An object went that asks for somebody's word.
        Confirmed,
        /// An object went before its successors came.
        WentFirst,
        /// An object was made anew without what it owns.
        ReplacedAlone,
        /// Our marks were taken off an object that asks to be kept.
        Kept,
        /// Our marks were taken off an object whose bundle or cluster went.
        LeftBehind,
        /// The fields of an object went over from one bundle to another.
        HandedOver,
        /// The fields of somebody else's object went over to a bundle.
        Adopted,
        /// Our marks were put on an object before it was made anew.
        Claimed,
        /// A ledger was rebuilt from marks.
        Rebuilt,
        /// A spoke did as it was told at its cluster.
        OrderObeyed,
        /// A request met a used up quota.
        OutOfQuota,
        /// A delta was refused by a spoke.
        Nacked,
        /// A spoke asked for what did not come.
        Needed,
        /// A spoke came back with what it held, and nothing was sent.
        Current,
    }
}

/// The counters of one or many runs.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    faults: BTreeMap<Fault, u64>,
    events: BTreeMap<Event, u64>,
    refusals: BTreeMap<Reason, u64>,
}

/// Every reason that an API server can have.
pub(crate) const REASONS: [Reason; 12] = [
    Reason::Invalid,
    Reason::Forbidden,
    Reason::Quota,
    Reason::NoSuchKind,
    Reason::NoSuchNamespace,
    Reason::Terminating,
    Reason::Conflict,
    Reason::Unauthorized,
    Reason::Webhook,
    Reason::Throttled,
    Reason::Server,
    Reason::Unreachable,
];

impl Counts {
    /// A fault happened.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Something ordinary happened.
    pub fn event(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }

    /// A request was refused.
    pub fn refusal(&mut self, reason: Reason) {
        *self.refusals.entry(reason).or_default() += 1;
    }

    /// Adds the counters of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (event, count) in &other.events {
            *self.events.entry(*event).or_default() += count;
        }
        for (reason, count) in &other.refusals {
            *self.refusals.entry(*reason).or_default() += count;
        }
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|one| !self.faults.contains_key(one));
        let events = Event::ALL.iter().filter(|one| !self.events.contains_key(one));
        let refusals = REASONS.iter().filter(|one| !self.refusals.contains_key(one));
        let faults = faults.map(|one| format!("fault {one:?}"));
        let events = events.map(|one| format!("event {one:?}"));
        faults.chain(events).chain(refusals.map(|one| format!("refusal {one:?}"))).collect()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "faults {:?}", self.faults)?;
        writeln!(f, "refusals {:?}", self.refusals)?;
        writeln!(f, "events {:?}", self.events)
    }
}
