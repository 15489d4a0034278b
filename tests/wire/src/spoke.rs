//! A spoke that a test plays by hand: it follows the hub only as far as the test lets it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use prost::Message as _;
use proto_model::assign::{self, Entry, RULES};
use proto_model::delta::{Delta, HeldEntry, Hello, Refusal, ToHub, ToSpoke, level};
use proto_model::{Digest, Fence, Health, Report, Sync, Variant, ask, limits, suspend};
use proto_wire::sync::HubMessage;
use proto_wire::to_spoke::{FromHub, Reader};
use proto_wire::{compress, to_hub};
use rcgen::KeyPair;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::hub::{Credentials, Hub};
use crate::{PATIENCE, raw};

/// What a spoke keeps between its streams.
pub struct Spoke {
    /// The name of its cluster.
    pub cluster: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key.
    pub key: KeyPair,
    /// What its next Hello says.
    pub hello: Hello,
    /// What it is assigned.
    pub entries: BTreeMap<String, Entry>,
    /// What it last reported.
    pub reports: BTreeMap<String, Report>,
    /// Variants and objects.
    pub bodies: BTreeMap<Digest, Vec<u8>>,
    /// Deltas that it took.
    pub deltas: usize,
    /// Whether it reports what it took: a hub that hears nothing counts nothing as applied.
    pub is_silent: bool,
}

/// A stream of a spoke, and what came through it.
pub struct Stream {
    out: mpsc::Sender<Bytes>,
    messages: Streaming<HubMessage>,
    reader: Reader,
    /// Messages that came.
    pub count: usize,
    /// The largest of them, in bytes.
    pub largest_bytes: usize,
}

impl Spoke {
    /// A spoke that has just joined, with a token of its own.
    ///
    /// # Errors
    /// The hub refuses.
    pub async fn join(hub: &Hub, cluster: &str) -> Result<Self> {
        let token = hub.token(cluster, 1, 0).await?;
        let key = KeyPair::generate()?;
        let joined = hub.join(&token, cluster, &key).await?;
        let hello = Hello {
            fence: Fence::default(),
            fence_mac: Vec::new(),
            root: assign::root(&BTreeMap::new()),
            level: level([]),
            session_token: Vec::new(),
            cluster_uid: format!("uid-of-{cluster}"),
            rules: RULES,
            version: "test".into(),
            asks: ask::VERSION,
            suspends: suspend::VERSION,
            suspended: false,
        };
        Ok(Self {
            cluster: cluster.into(),
            certificate: String::from_utf8(joined.certificates.to_vec())?,
            key,
            hello,
            entries: BTreeMap::new(),
            reports: BTreeMap::new(),
            bodies: BTreeMap::new(),
            deltas: 0,
            is_silent: false,
        })
    }

    /// What it shows of itself.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials { certificate: self.certificate.clone(), key: self.key.serialize_pem() }
    }

    /// Connects and says Hello.
    ///
    /// # Errors
    /// The hub refuses the call.
    pub async fn connect(&self, hub: &Hub) -> Result<Stream, Status> {
        let stream = self.open(hub).await?;
        stream.say(&ToHub::Hello(self.hello.clone())).await;
        Ok(stream)
    }

    /// Joins, connects, and takes what it is assigned.
    ///
    /// # Errors
    /// As of each.
    pub async fn attached(hub: &Hub, cluster: &str) -> Result<(Self, Stream)> {
        let mut spoke = Self::join(hub, cluster).await?;
        let mut stream = spoke.connect(hub).await?;
        spoke.follow(&mut stream, |spoke| !spoke.entries.is_empty()).await?;
        Ok((spoke, stream))
    }

    /// Connects and says nothing yet.
    ///
    /// # Errors
    /// The hub refuses the call.
    pub async fn open(&self, hub: &Hub) -> Result<Stream, Status> {
        let channel = hub.channel(Some(&self.credentials())).map_err(|error| Status::internal(error.to_string()))?;
        let (out, messages) = mpsc::channel(16);
        let messages = raw::connect(channel, ReceiverStream::new(messages)).await?;
        Ok(Stream { out, messages, reader: Reader::default(), count: 0, largest_bytes: 0 })
    }

    /// Takes what the hub says and does as it is told, until `done`.
    ///
    /// # Errors
    /// The stream ends, or nothing comes in time.
    pub async fn follow(&mut self, stream: &mut Stream, done: impl Fn(&Self) -> bool) -> Result<()> {
        let mut waiting: Option<Delta> = None;
        while !done(self) {
            match stream.next().await?.context("the stream ended")? {
                ToSpoke::Welcome { session_token, want_holding, want_reports } => {
                    self.hello.session_token = session_token;
                    if want_holding {
                        stream.say(&ToHub::Holding(self.holding())).await;
                    }
                    for report in self.reports.values().filter(|_| want_reports) {
                        stream.say(&ToHub::Report(report.clone())).await;
                    }
                }
                ToSpoke::Delta(delta) => waiting = Some(delta),
                ToSpoke::Variant(part) => self.keep(part.digest, part.base, &part.bytes)?,
                ToSpoke::Body(part) => self.keep(part.digest, part.base, &part.bytes)?,
                other => bail!("unexpected: {other:?}"),
            }
            if let Some(delta) = waiting.take_if(|delta| self.has_all(delta)) {
                self.take(delta, stream).await;
            }
        }
        Ok(())
    }

    fn holding(&self) -> BTreeMap<String, HeldEntry> {
        let held = |entry: &Entry| match entry {
            Entry::Run(run) => HeldEntry { digest: entry.digest(), variant: Some(run.variant) },
            Entry::Remove(_) => HeldEntry { digest: entry.digest(), variant: None },
        };
        self.entries.iter().map(|(name, entry)| (name.clone(), held(entry))).collect()
    }

    fn keep(&mut self, digest: Digest, base: Option<Digest>, bytes: &[u8]) -> Result<()> {
        let base = match base {
            Some(base) => Some(self.bodies.get(&base).context("a base that this spoke does not hold")?.as_slice()),
            None => None,
        };
        let body = compress::decompress(bytes, base, limits::OBJECT_BYTES_MAX)?;
        ensure!(Digest::of(&body) == digest, "a body with another digest");
        self.bodies.insert(digest, body);
        Ok(())
    }

    fn has_all(&self, delta: &Delta) -> bool {
        delta.set.values().all(|entry| match entry {
            Entry::Remove(_) => true,
            Entry::Run(run) => self
                .bodies
                .get(&run.variant)
                .and_then(|list| Variant::decode(list).ok())
                .is_some_and(|variant| variant.objects.iter().all(|digest| self.bodies.contains_key(digest))),
        })
    }

    /// Acks, and reports that all went well.
    async fn take(&mut self, delta: Delta, stream: &Stream) {
        self.deltas += 1;
        self.hello.fence = delta.fence.clone();
        self.hello.fence_mac = delta.fence_mac;
        self.entries.extend(delta.set.clone());
        self.entries.retain(|name, _| !delta.forget.contains(name));
        self.reports.retain(|name, _| !delta.forget.contains(name));
        let generation = delta.fence.generation;
        stream.say(&ToHub::Ack { generation, root: delta.root }).await;
        if !self.is_silent {
            for (bundle, entry) in &delta.set {
                let report = went_well(bundle, entry, generation);
                stream.say(&ToHub::Report(report.clone())).await;
                self.reports.insert(bundle.clone(), report);
            }
        }
        let digests = self.entries.iter().map(|(name, one)| (name.clone(), one.digest())).collect();
        self.hello.root = assign::root(&digests);
        self.hello.level = level(self.reports.values());
    }

    /// Whether it holds an object whose text has these words.
    #[must_use]
    pub fn holds(&self, words: &str) -> bool {
        self.bodies.values().any(|body| String::from_utf8_lossy(body).contains(words))
    }
}

fn went_well(bundle: &str, entry: &Entry, generation: u64) -> Report {
    let (variant, variables, objects) = match entry {
        Entry::Run(run) => (Some(run.variant), run.variables.digest(), 1),
        Entry::Remove(_) => (None, Digest::of(b""), 0),
    };
    Report {
        bundle: bundle.to_owned(),
        generation,
        variant,
        variables,
        sync: Sync::Applied,
        health: Health::Healthy,
        drifted: false,
        suspended: false,
        installed: true,
        objects,
        problems: Vec::new(),
        problems_more: 0,
        since_unix_millis: 1,
    }
}

impl Stream {
    /// Says one thing. A hub that has ended the stream hears it not.
    pub async fn say(&self, word: &ToHub) {
        for message in to_hub::encode(word).unwrap_or_default() {
            self.say_bytes(message.encode_to_vec()).await;
        }
    }

    /// Sends bytes as one message.
    pub async fn say_bytes(&self, bytes: impl Into<Bytes>) {
        // Whether the stream still stands is seen by reading.
        let _ = self.out.send(bytes.into()).await;
    }

    /// The next word of the hub; `None`: it ended the stream.
    ///
    /// # Errors
    /// The stream broke, or nothing comes in time.
    pub async fn next(&mut self) -> Result<Option<ToSpoke>> {
        loop {
            let message = timeout(PATIENCE, self.messages.message()).await.context("the hub says nothing")??;
            let Some(message) = message else { return Ok(None) };
            self.count += 1;
            self.largest_bytes = self.largest_bytes.max(message.encoded_len());
            match self.reader.accept(message)? {
                Some(FromHub::Word(word)) => return Ok(Some(word)),
                Some(FromHub::Move(_)) => bail!("there is no other replica to move to"),
                None => {}
            }
        }
    }

    /// Waits for the refusal that ends the stream, passing over everything before it.
    ///
    /// # Errors
    /// It ends without one, or does not end in time.
    pub async fn refusal(&mut self) -> Result<Refusal> {
        loop {
            if let ToSpoke::Refused(reason) = self.next().await?.context("the stream ended without a reason")? {
                ensure!(self.next().await?.is_none(), "something came after a refusal");
                return Ok(reason);
            }
        }
    }

    /// Waits for the word that sends the spoke to another replica, passing over everything before it: the addresses.
    ///
    /// # Errors
    /// The stream ends without it, or does not end after it in time.
    pub async fn moved(&mut self) -> Result<Vec<String>> {
        loop {
            let message = timeout(PATIENCE, self.messages.message()).await.context("the hub says nothing")??;
            let message = message.context("the stream ended without a reason")?;
            if let Some(FromHub::Move(addresses)) = self.reader.accept(message)? {
                ensure!(self.end().await?.is_none(), "the stream broke");
                return Ok(addresses);
            }
        }
    }

    /// Waits for the status with which the hub breaks the stream.
    ///
    /// # Errors
    /// It ends well, or does not end in time.
    pub async fn broken(&mut self) -> Result<Status> {
        self.end().await?.context("the stream ended well")
    }

    /// Waits for the end of the stream, good (`None`) or bad, passing over everything before it.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn end(&mut self) -> Result<Option<Status>> {
        loop {
            match timeout(PATIENCE, self.messages.message()).await.context("the stream does not end")? {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(status) => return Ok(Some(status)),
            }
        }
    }
}
