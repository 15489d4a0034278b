//! The sync service, called with whatever bytes a test likes.

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use proto_wire::sync::HubMessage;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Opens a stream that sends these bytes, each item as one gRPC message.
///
/// # Errors
/// The hub refuses the call, or cannot be reached.
pub async fn connect(
    channel: Channel,
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<HubMessage>, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/drover.sync.v1.Sync/Connect");
    client.streaming(Request::new(messages), path, Raw).await.map(tonic::Response::into_inner)
}

struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = HubMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = HubMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<HubMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        HubMessage::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
