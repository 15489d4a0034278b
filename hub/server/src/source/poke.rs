//! Sources that are followed, and how others say that one should be looked at now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Spec;

/// A source that is followed.
#[derive(Debug)]
pub struct Followed {
    /// Its name.
    pub name: String,
    /// A path or a URL.
    pub url: String,
    /// Branch, tag or commit.
    pub reference: String,
    /// A file with the secrets that its webhooks are signed with.
    pub hook_secret: Option<PathBuf>,
    /// Whether the file cannot be read, as was said already.
    told: AtomicBool,
    /// Holds one permit at most: however often it is asked for, it is one look.
    due: Notify,
}

impl Followed {
    /// Whether its secrets can be read now; whether that is news.
    pub fn found(&self, readable: bool) -> bool {
        self.told.swap(!readable, Ordering::Relaxed) == readable
    }

    /// It should be looked at now, though no poll is due.
    pub fn poke(&self) {
        self.due.notify_one();
    }

    /// Resolves once somebody asked for a look.
    pub(super) async fn poked(&self) {
        self.due.notified().await;
    }
}

/// The sources that are followed now.
#[derive(Debug, Default)]
pub struct Pokes {
    sources: Mutex<BTreeMap<String, Arc<Followed>>>,
}

impl Pokes {
    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Followed>> {
        self.lock().values().cloned().collect()
    }

    /// From now on a source is followed.
    pub(super) fn begin(&self, spec: &Spec) -> Arc<Followed> {
        let followed = Arc::new(Followed {
            name: spec.name.clone(),
            url: spec.url.clone(),
            reference: spec.reference.clone(),
            hook_secret: spec.hook_secret.clone(),
            told: AtomicBool::new(false),
            due: Notify::new(),
        });
        self.lock().insert(spec.name.clone(), Arc::clone(&followed));
        followed
    }

    /// It is followed no longer.
    pub(super) fn end(&self, source: &str) {
        self.lock().remove(source);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Followed>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
