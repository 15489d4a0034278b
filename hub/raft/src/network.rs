//! The network of a hub with one voter: there is nobody to talk to, so every call is refused.

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{BasicNode, RaftNetwork, RaftNetworkFactory};

use crate::types::Types;

/// Makes [`Refuse`].
pub(crate) struct Alone;

/// Refuses.
pub(crate) struct Refuse {
    target: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("replica {0:016x} cannot be reached: this hub has one replica")]
struct NoPeers(u64);

impl Refuse {
    fn unreachable(&self) -> Unreachable {
        Unreachable::new(&NoPeers(self.target))
    }
}

impl RaftNetworkFactory<Types> for Alone {
    type Network = Refuse;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Refuse {
        Refuse { target }
    }
}

impl RaftNetwork<Types> for Refuse {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(self.unreachable().into())
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(self.unreachable().into())
    }
}
