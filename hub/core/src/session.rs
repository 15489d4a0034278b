//! The hub's side of one spoke's stream: what the spoke holds, what it should hold, and what to
//! send next.
//!
//! Nothing is queued but references: the shell asks for the next item when the transport takes it,
//! and looks its bytes up then, shared with every stream that needs the same. One delta is under
//! way at a time; what changes meanwhile is folded into the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proto_model::ask::Answer;
use proto_model::assign::{self, Entry, RULES};
use proto_model::delta::{Delta, HeldEntry, Hello, Refusal, ToHub};
use proto_model::{Digest, Fence, Report, limits, suspend};

use crate::fleet::Suspensions;

/// What a cluster must hold, as its stream sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The fence of the present assignments.
    pub fence: Fence,
    /// The assignments, by full bundle name.
    pub entries: Arc<BTreeMap<String, Entry>>,
}

impl Target {
    /// The root of the assignments.
    #[must_use]
    pub fn root(&self) -> Digest {
        assign::root(&self.entries.iter().map(|(name, one)| (name.clone(), one.digest())).collect())
    }
}

/// What a stream needs to know of variants.
pub trait Variants {
    /// The objects of a variant, each with a key that is the same for all versions of one object.
    fn objects(&self, variant: &Digest) -> Option<Arc<Vec<(Digest, String)>>>;
}

/// Something to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// First answer to a Hello.
    Welcome {
        /// Whether the spoke must list what it holds.
        want_holding: bool,
        /// Whether the spoke must tell all its reports.
        want_reports: bool,
    },
    /// The head of a delta; the shell adds the MAC over its fence.
    Delta(Delta),
    /// A variant, as the difference to `base` where the spoke holds one.
    Variant {
        /// Which.
        digest: Digest,
        /// What the spoke holds.
        base: Option<Digest>,
    },
    /// A body, as the difference to `base` where the spoke holds one.
    Body {
        /// Which.
        digest: Digest,
        /// What the spoke holds.
        base: Option<Digest>,
    },
    /// What is suspended in the cluster; the shell says how much is left of it ([`told`]).
    Suspensions(Suspensions),
    /// The session ends with this.
    Refused(Refusal),
}

/// Suspensions as a spoke is told of them, by the wall clock of the log or a later time. No clock that was set back makes
/// one longer than it was meant to be.
#[must_use]
pub fn told(all: &Suspensions, now_unix_millis: u64) -> suspend::Suspensions {
    let told = all.iter().map(|(scope, one)| {
        let left_millis = one.until_unix_millis.saturating_sub(now_unix_millis.max(one.at_unix_millis));
        let (reason, by) = (one.why.clone(), one.who.clone());
        (scope.clone(), suspend::Suspension { id: one.id, left_millis, reason, by })
    });
    told.filter(|(_, one)| one.left_millis > 0).collect()
}

/// What a message from the spoke means for the rest of the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The spoke holds this generation durably.
    Acked(u64),
    /// The spoke refused a generation, and why; it keeps what it had.
    Nacked(u64, String),
    /// A report.
    Report(Report),
    /// A certificate signing request, PEM.
    Renew(Vec<u8>),
    /// The answer to an ask.
    Answer(Answer),
    /// A message out of order: end the stream.
    Protocol(&'static str),
}

#[derive(Debug)]
struct UnderWay {
    fence: Fence,
    root: Digest,
    held: BTreeMap<String, HeldEntry>,
    /// Bundles whose variants and bodies were not sent yet, and the variant each replaces.
    bundles: VecDeque<(Digest, Option<Digest>)>,
    sent: BTreeSet<Digest>,
    /// What the spoke said that it lacks. A set: asking twice sends once.
    needed: BTreeSet<(Part, Digest)>,
    /// Bodies of the variants that the spoke must hold, once it has asked for any.
    may_have: Option<BTreeSet<Digest>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Variant,
    Body,
}

impl UnderWay {
    /// What a spoke asked for, whole. It may ask for what is assigned to its own cluster, and gets
    /// nothing else, whatever digests it knows.
    fn part(&mut self, (part, digest): (Part, Digest), variants: &impl Variants) -> Option<Item> {
        let own: BTreeSet<Digest> = self.held.values().filter_map(|one| one.variant).collect();
        match part {
            Part::Variant => own.contains(&digest).then_some(Item::Variant { digest, base: None }),
            Part::Body => {
                let may_have = self.may_have.get_or_insert_with(|| {
                    let lists = own.iter().filter_map(|variant| variants.objects(variant));
                    lists.flat_map(|list| list.iter().map(|(body, _)| *body).collect::<Vec<_>>()).collect()
                });
                may_have.contains(&digest).then_some(Item::Body { digest, base: None })
            }
        }
    }
}

/// The hub's side of one stream.
#[derive(Debug)]
pub struct Session {
    target: Target,
    fence: Fence,
    held: Option<BTreeMap<String, HeldEntry>>,
    items: VecDeque<Item>,
    under_way: Option<UnderWay>,
    refused: Option<u64>,
    asked_again: Option<u64>,
    /// Whether the spoke heeds suspensions.
    heeds: bool,
    /// What the spoke was told is suspended; `None`: nobody knows.
    told: Option<Suspensions>,
    /// What it is to be told, before anything but the Welcome.
    to_tell: Option<Suspensions>,
}

impl Session {
    /// Answers a Hello. `level` is the digest of the reports that this replica remembers.
    ///
    /// # Errors
    /// Why the spoke must not be served. The shell has checked the certificate and the MAC before.
    pub fn open(hello: &Hello, target: Target, level: Option<Digest>) -> Result<Self, Refusal> {
        if !hello.rules.knows(&RULES) {
            return Err(Refusal::TooOld);
        }
        let fresh = hello.fence.hub_id.is_empty();
        let ours = (target.fence.epoch, target.fence.incarnation, target.fence.generation);
        let theirs = (hello.fence.epoch, hello.fence.incarnation, hello.fence.generation);
        if !fresh && (hello.fence.hub_id != target.fence.hub_id || theirs > ours) {
            return Err(Refusal::ForeignFence);
        }
        let held = if hello.root == assign::root(&BTreeMap::new()) {
            Some(BTreeMap::new())
        } else if hello.root == target.root() && !fresh {
            Some(holding(&target.entries))
        } else {
            None
        };
        let welcome = Item::Welcome { want_holding: held.is_none(), want_reports: level != Some(hello.level) };
        let mut session = Self {
            target,
            fence: hello.fence.clone(),
            held,
            items: VecDeque::from([welcome]),
            under_way: None,
            refused: None,
            asked_again: None,
            heeds: hello.suspends > 0,
            told: (!hello.suspended).then(Suspensions::new),
            to_tell: None,
        };
        session.advance();
        Ok(session)
    }

    /// The assignments changed.
    pub fn retarget(&mut self, target: Target) {
        if target != self.target {
            self.target = target;
            self.advance();
        }
    }

    /// What is suspended in the cluster now. A spoke that is too old to heed it is not told.
    pub fn suspend(&mut self, all: &Suspensions) {
        if self.heeds && self.told.as_ref() != Some(all) {
            self.told = Some(all.clone());
            self.to_tell = Some(all.clone());
        }
    }

    /// Takes a message of the spoke.
    pub fn receive(&mut self, message: ToHub) -> Option<News> {
        match message {
            ToHub::Hello(_) => Some(News::Protocol("a second Hello")),
            ToHub::Holding(entries) => {
                if self.held.is_none() && self.under_way.is_none() {
                    self.held = Some(entries);
                    self.advance();
                }
                None
            }
            ToHub::Need { variants, bodies } => {
                let Some(under_way) = &mut self.under_way else {
                    return Some(News::Protocol("a Need without a delta"));
                };
                let variants = variants.into_iter().map(|digest| (Part::Variant, digest));
                let bodies = bodies.into_iter().map(|digest| (Part::Body, digest));
                under_way.needed.extend(variants.chain(bodies));
                (under_way.needed.len() > limits::SYNC_NEED_DIGESTS_MAX)
                    .then_some(News::Protocol("a Need of more than a delta can have"))
            }
            ToHub::Ack { generation, root } => self.acked(generation, root),
            ToHub::Nack { generation, message } => self.nacked(generation, message),
            ToHub::Report(report) => Some(News::Report(report)),
            ToHub::Renew(csr) => Some(News::Renew(csr)),
            ToHub::Answer(answer) => Some(News::Answer(answer)),
        }
    }

    /// Sends once more what the spoke refused: the reason may have passed.
    pub fn try_again(&mut self) {
        if self.refused.take().is_some() {
            self.asked_again = None;
            self.advance();
        }
    }

    /// The next item to send, if any.
    pub fn next(&mut self, variants: &impl Variants) -> Option<Item> {
        loop {
            // Before a delta: nothing of it may be begun that is suspended. A Welcome comes before all.
            if !matches!(self.items.front(), Some(Item::Welcome { .. }))
                && let Some(all) = self.to_tell.take()
            {
                return Some(Item::Suspensions(all));
            }
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let under_way = self.under_way.as_mut()?;
            if let Some(needed) = under_way.needed.pop_first() {
                self.items.extend(under_way.part(needed, variants));
                continue;
            }
            let (variant, replaced) = under_way.bundles.pop_front()?;
            self.items = parts(under_way, variant, replaced, variants);
        }
    }

    /// Whether the spoke holds exactly what is assigned.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.fence == self.target.fence && self.under_way.is_none()
    }

    /// Whether the spoke holds what was assigned under this fence, durably.
    #[must_use]
    pub fn holds(&self, fence: &Fence) -> bool {
        self.fence == *fence && self.under_way.is_none()
    }

    /// Whether a delta was sent that the spoke has not answered.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    fn acked(&mut self, generation: u64, root: Digest) -> Option<News> {
        let under_way = self.under_way.take()?;
        if under_way.fence.generation != generation || under_way.root != root {
            self.under_way = Some(under_way);
            return Some(News::Protocol("an Ack of something else than was sent"));
        }
        self.held = Some(under_way.held);
        self.fence = under_way.fence;
        self.items.clear();
        self.advance();
        Some(News::Acked(generation))
    }

    /// A nack leaves what the spoke holds in doubt: it is asked to list it, once; a generation that
    /// is refused again is not sent again.
    fn nacked(&mut self, generation: u64, message: String) -> Option<News> {
        self.under_way.take()?;
        self.items.clear();
        if self.asked_again == Some(generation) {
            self.refused = Some(generation);
        } else {
            self.asked_again = Some(generation);
            self.held = None;
            self.items.push_back(Item::Welcome { want_holding: true, want_reports: false });
        }
        Some(News::Nacked(generation, message))
    }

    /// Starts the delta from what is held to the target, where there is one to send.
    fn advance(&mut self) {
        let Some(held) = &self.held else { return };
        let generation = self.target.fence.generation;
        if self.under_way.is_some() || self.fence == self.target.fence || self.refused == Some(generation) {
            return;
        }
        let wanted = holding(&self.target.entries);
        let changed = self
            .target
            .entries
            .iter()
            .filter(|(name, _)| held.get(*name).map(|one| one.digest) != digest_of(&wanted, name));
        let set: BTreeMap<String, Entry> = changed.map(|(name, entry)| (name.clone(), entry.clone())).collect();
        let forget = held.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let bundles = set
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Run(run) => {
                    let replaced = held.get(name).and_then(|one| one.variant);
                    (replaced != Some(run.variant)).then_some((run.variant, replaced))
                }
                Entry::Remove(_) => None,
            })
            .collect();
        let root = root_of(&wanted);
        self.items.push_back(Item::Delta(Delta {
            fence: self.target.fence.clone(),
            fence_mac: Vec::new(),
            base: root_of(held),
            root,
            set,
            forget,
        }));
        self.under_way = Some(UnderWay {
            fence: self.target.fence.clone(),
            root,
            // What a removal leaves in the ledger until it is done serves as a base, too.
            held: wanted,
            bundles,
            sent: BTreeSet::new(),
            needed: BTreeSet::new(),
            may_have: None,
        });
    }
}

fn holding(entries: &BTreeMap<String, Entry>) -> BTreeMap<String, HeldEntry> {
    entries
        .iter()
        .map(|(name, entry)| {
            let variant = match entry {
                Entry::Run(run) => Some(run.variant),
                Entry::Remove(_) => None,
            };
            (name.clone(), HeldEntry { digest: entry.digest(), variant })
        })
        .collect()
}

fn root_of(held: &BTreeMap<String, HeldEntry>) -> Digest {
    assign::root(&held.iter().map(|(name, one)| (name.clone(), one.digest)).collect())
}

fn digest_of(held: &BTreeMap<String, HeldEntry>, name: &str) -> Option<Digest> {
    held.get(name).map(|one| one.digest)
}

/// The variant and those of its bodies that the replaced variant does not have.
fn parts(
    under_way: &mut UnderWay,
    variant: Digest,
    replaced: Option<Digest>,
    variants: &impl Variants,
) -> VecDeque<Item> {
    let mut items = VecDeque::new();
    let old = replaced.and_then(|digest| variants.objects(&digest));
    let old: BTreeMap<&str, Digest> =
        old.iter().flat_map(|list| list.iter().map(|(digest, key)| (&**key, *digest))).collect();
    let held: BTreeSet<Digest> = old.values().copied().collect();
    if under_way.sent.insert(variant) {
        let base = replaced.filter(|_| !old.is_empty());
        items.push_back(Item::Variant { digest: variant, base });
    }
    for (digest, key) in variants.objects(&variant).iter().flat_map(|list| list.iter()) {
        if !held.contains(digest) && under_way.sent.insert(*digest) {
            items.push_back(Item::Body { digest: *digest, base: old.get(&**key).copied() });
        }
    }
    items
}

#[cfg(test)]
mod tests;
