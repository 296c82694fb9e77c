//! Signals: the first SIGTERM or SIGINT asks for an orderly stop, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: what was not finished is read again by the next start.
const INTERRUPTED: i32 = 130;

/// Cancels the returned token at the first signal.
///
/// # Errors
/// When the process may not handle signals.
pub(crate) fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        token.cancel();
        next().await;
        tracing::warn!("ended by a second signal; unfinished input will be read again");
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}
