//! The messages of a WebSocket as a plain stream of bytes.

use super::BUFFER_BYTES;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Copies both ways until the stream on our side ends or the client has left. A close message is the end of the client.
pub(super) async fn pump<S>(socket: WebSocketStream<S>, stream: DuplexStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut out, mut messages) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let outward = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            if out.send(Message::binary(buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
        // A client that has left needs no goodbye.
        let _ = out.close().await;
    };
    let inward = async {
        while let Some(Ok(message)) = messages.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            // A process that reads no more ends the other direction.
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    tokio::pin!(outward, inward);
    tokio::select! {
        () = &mut outward => {}
        () = &mut inward => outward.await,
    }
}
