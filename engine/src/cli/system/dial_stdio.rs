//! `dhow system dial-stdio`: a connection to the engine on standard input and output, for clients that come by ssh
//! (`DOCKER_HOST=ssh://…` runs `docker system dial-stdio` on the other side).

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use clap::Parser;
use tokio::io::{AsyncWriteExt, copy, stdin, stdout};

/// Proxy the stdio stream to the daemon connection. Should not be invoked manually.
#[derive(Debug, Parser)]
#[command(name = "dhow system dial-stdio")]
pub(crate) struct Args {}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, _: Args) -> Outcome {
    let failed = |what: &str, error: std::io::Error| Failure::new(format!("{what}: {error}"));
    // A client makes several connections, and each comes here as a process of its own: one that waits for a start
    // must be in the same engine as the one that starts.
    let connect = context.remote_connector()?.ok_or_else(|| {
        Failure::new(
            "dial-stdio needs an engine that serves: run dhow serve, and name it by -H or DOCKER_HOST",
        )
    })?;
    let stream = connect().await.map_err(|error| Failure::new(error.to_string()))?;
    let (mut answers, mut requests) = tokio::io::split(stream);
    let sending = async {
        copy(&mut stdin(), &mut requests)
            .await
            .map_err(|e| failed("copy standard input to the engine", e))?;
        // The engine may still have something to say to what was asked.
        requests.shutdown().await.map_err(|e| failed("close our half of the connection", e))
    };
    let receiving = async {
        let mut out = stdout();
        copy(&mut answers, &mut out).await.map_err(|e| failed("copy the engine's answers", e))?;
        out.flush().await.map_err(|e| failed("write to standard output", e))
    };
    let (sending, receiving) = (std::pin::pin!(sending), std::pin::pin!(receiving));
    // The end of the answers is the end, whoever still holds our standard input open.
    match futures_util::future::select(receiving, sending).await {
        futures_util::future::Either::Left((received, _)) => received?,
        futures_util::future::Either::Right((sent, receiving)) => {
            sent?;
            receiving.await?;
        }
    }
    Ok(0)
}
