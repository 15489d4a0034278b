//! What tests and tools may look at.

use proto_model::Identity;
use serde_json::Value as Json;
use spoke_core::port::{Failure, Kind, Live};

use crate::state::{State, Stored, live};

impl State {
    /// An object as the API would return it.
    #[must_use]
    pub fn object(&self, identity: &Identity) -> Option<Json> {
        self.objects.get(identity).map(Stored::json)
    }

    /// Identities of all objects, in order.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.objects.keys()
    }

    /// All live objects of a kind that carry the owner label, by their metadata.
    ///
    /// # Errors
    /// The kind is not served, or the server does not answer.
    pub fn owned(&self, kind: &Kind) -> Result<Vec<Live>, Failure> {
        if !self.reachable {
            return Err(crate::fault::unreachable());
        }
        let resolved = self.resolve(kind)?;
        Ok(self
            .of_kind(&kind.kind)
            .filter(|(_, stored)| stored.labelled)
            .map(|(_, stored)| live(&resolved.kind, stored, false))
            .collect())
    }
}
