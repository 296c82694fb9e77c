//! Waiting for conditions, and names and ports of one's own.

use anyhow::{Result, bail};
use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks at a condition every 20 ms until it gives a value, and returns that. `what` says what was awaited,
/// in the error after `timeout`; an error of the condition itself ends the wait at once.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn two_rows(clickhouse: &weir_tests::ClickHouse) -> anyhow::Result<()> {
/// let rows = weir_tests::wait_until("two rows", Duration::from_secs(10), async || {
///     let rows = clickhouse.query("SELECT * FROM t").await?;
///     Ok((rows.len() == 2).then_some(rows))
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub async fn wait_until<T, Look>(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Look,
) -> Result<T>
where
    Look: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain for {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `prefix`, the process id and a counter: a name for a topic, group or database that no other test has.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A port that was free a moment ago, for a server that must be told its port.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
