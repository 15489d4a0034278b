//! What tonic polls for the next message of a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use proto_wire::sync::HubMessage;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

/// The messages of one stream. After each it is once not ready: tonic gathers what is ready into a
/// buffer of 32 KiB, which every stream would then keep.
pub struct Outgoing {
    messages: mpsc::Receiver<Result<HubMessage, Status>>,
    rests: bool,
}

impl Outgoing {
    pub(super) fn new(messages: mpsc::Receiver<Result<HubMessage, Status>>) -> Self {
        Self { messages, rests: false }
    }
}

impl Stream for Outgoing {
    type Item = Result<HubMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.messages.poll_recv(context);
        self.rests = matches!(next, Poll::Ready(Some(_)));
        next
    }
}
