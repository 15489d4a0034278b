//! The hub's own MACs: over fences, and over the counters of sessions. They let the hub know again
//! what it said itself, and nothing that a spoke made up.

use aws_lc_rs::hmac;
use proto_model::Fence;
use zeroize::Zeroizing;

/// Length of the key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The key of all MACs.
pub struct Mac {
    key: hmac::Key,
}

impl Mac {
    /// From the bytes of the key.
    #[must_use]
    pub fn new(key: &Zeroizing<Vec<u8>>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The MAC over the fence of a cluster.
    #[must_use]
    pub fn fence(&self, cluster: &str, fence: &Fence) -> Vec<u8> {
        hmac::sign(&self.key, &fence_message(cluster, fence)).as_ref().to_vec()
    }

    /// Whether this hub gave a cluster this fence.
    #[must_use]
    pub fn knows_fence(&self, cluster: &str, fence: &Fence, mac: &[u8]) -> bool {
        hmac::verify(&self.key, &fence_message(cluster, fence), mac).is_ok()
    }

    /// The token of a session of a cluster: its counter and the MAC over both.
    #[must_use]
    pub fn session(&self, cluster: &str, incarnation: u64, session: u64) -> Vec<u8> {
        let mut token = session.to_be_bytes().to_vec();
        let tag = hmac::sign(&self.key, &session_message(cluster, incarnation, session));
        token.extend_from_slice(tag.as_ref());
        token
    }

    /// Id and secret of the join token that an operator's request makes: random to everybody else,
    /// and the same when the request is repeated.
    #[must_use]
    pub fn join_token(&self, who: &str, request_id: &str) -> (String, String) {
        let part = |what: &str| {
            let message = format!("token\0{what}\0{who}\0{request_id}");
            super::hex(hmac::sign(&self.key, message.as_bytes()).as_ref())
        };
        let mut id = part("id");
        id.truncate(16);
        (id, part("secret"))
    }

    /// The counter of a session token that this hub gave to this cluster.
    #[must_use]
    pub fn read_session(&self, cluster: &str, incarnation: u64, token: &[u8]) -> Option<u64> {
        let (counter, tag) = token.split_first_chunk::<8>()?;
        let session = u64::from_be_bytes(*counter);
        hmac::verify(&self.key, &session_message(cluster, incarnation, session), tag).ok()?;
        Some(session)
    }
}

// Parts are separated by a byte that no name holds, and each use has its own first word, so that
// no message of one use can be read as one of another.
fn fence_message(cluster: &str, fence: &Fence) -> Vec<u8> {
    let Fence { hub_id, epoch, incarnation, generation } = fence;
    format!("fence\0{cluster}\0{hub_id}\0{epoch}\0{incarnation}\0{generation}").into_bytes()
}

fn session_message(cluster: &str, incarnation: u64, session: u64) -> Vec<u8> {
    format!("session\0{cluster}\0{incarnation}\0{session}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(byte: u8) -> Mac {
        Mac::new(&Zeroizing::new(vec![byte; KEY_BYTES]))
    }

    #[test]
    fn only_what_this_hub_said_is_known_again() {
        let fence = Fence { hub_id: "h".into(), epoch: 1, incarnation: 1, generation: 7 };
        let tag = mac(1).fence("a", &fence);
        assert!(mac(1).knows_fence("a", &fence, &tag));
        assert!(!mac(2).knows_fence("a", &fence, &tag));
        assert!(!mac(1).knows_fence("b", &fence, &tag));
        assert!(!mac(1).knows_fence("a", &Fence { generation: 8, ..fence.clone() }, &tag));
        assert!(!mac(1).knows_fence("a", &fence, b""));
    }

    #[test]
    fn a_repeated_request_makes_the_same_join_token() {
        let made = mac(1).join_token("ann", "r1");
        assert_eq!(made, mac(1).join_token("ann", "r1"));
        assert_eq!((made.0.len(), made.1.len()), (16, 64));
        for other in [mac(2).join_token("ann", "r1"), mac(1).join_token("ann", "r2")] {
            assert_ne!(made.1, other.1);
        }
        assert!(!made.1.starts_with(&made.0));
    }

    #[test]
    fn session_tokens_carry_their_counter() {
        let token = mac(1).session("a", 1, 5);
        assert_eq!(mac(1).read_session("a", 1, &token), Some(5));
        assert_eq!(mac(1).read_session("b", 1, &token), None);
        assert_eq!(mac(1).read_session("a", 2, &token), None);
        let mut forged = token;
        forged[7] = 6;
        assert_eq!(mac(1).read_session("a", 1, &forged), None);
        assert_eq!(mac(1).read_session("a", 1, b"short"), None);
    }
}
