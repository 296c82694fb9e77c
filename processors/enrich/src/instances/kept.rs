//! The table on disk: read at the start, written after changes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_component::storage::Storage;
use weir_component::{Context, LogLimit, StartError};

use crate::instances::table::{InstanceTable, KeptInstance};

/// The key that it is kept under.
const KEY: &str = "instances";
/// Changes are gathered for this long.
const GATHER: Duration = Duration::from_secs(1);

/// Reads the table, and writes it after each change until the program stops.
///
/// # Errors
/// When the storage cannot be read.
pub(crate) async fn keep(
    table: Arc<InstanceTable>,
    storage: Arc<dyn Storage>,
    pipeline: &str,
    context: Context,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let name = format!("{}/{pipeline}", context.id);
    let kept = storage.get(&name, KEY).await;
    let kept = kept.map_err(|error| StartError(format!("its instances cannot be read: {error}")))?;
    let log = LogLimit::every_ms(10_000);
    if let Some(kept) = kept {
        match serde_json::from_slice::<Vec<KeptInstance>>(&kept) {
            Ok(kept) => table.restore(kept),
            Err(error) => {
                let processor = context.id.to_string();
                tracing::warn!(processor, %error, "its instances on disk are of another version: agents report them again");
            }
        }
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = table.changed.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            // Texts and numbers always have a JSON form.
            let Ok(value) = serde_json::to_vec(&table.kept()) else { continue };
            if let Err(error) = storage.put(&name, KEY, value).await
                && let Some(suppressed) = log.allow(context.clock.now_ms())
            {
                let processor = context.id.to_string();
                tracing::warn!(
                    processor, %error, suppressed,
                    "the properties of instances cannot be kept: after a restart they are missing until agents report them again"
                );
                table.changed.notify_one();
            }
        }
    });
    Ok(())
}
