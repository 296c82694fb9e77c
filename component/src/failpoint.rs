//! Places where a test ends the program as `kill -9` would, or delays a thread. In debug builds only.
//!
//! `WEIR_FAILPOINT=NAME:N` ends the process when the place `NAME` is reached for the `N`th time (from 1).
//! `WEIR_FAILPOINT=NAME:N:MS` keeps the thread there for `MS` milliseconds, once. The places, in the order
//! in which an export comes to them:
//!
//! | place | what has happened |
//! |---|---|
//! | `before-commit` | offsets, ranges and marks are about to be committed |
//! | `before-mark` | the same, when the mark of an operator has moved: its windows are stored |
//! | `after-commit` | Kafka has them, and no one has been notified |
//! | `before-export` | a range is committed as pending, and has not been sent |
//! | `before-part` | the same of a part of a range of which rows were refused |
//! | `after-answer` | the destination has taken an export of whatever kind, and no one has been notified |
//! | `after-part` | it has taken a part of a range |
//! | `after-export` | a range is done, and the offset has not moved |
//! | `after-window` | windows are stored, and their mark has not moved |
//! | `after-alter` | ClickHouse has columns for keys, which are not marked |
//! | `after-created-mark` | they are marked |

/// The program has come to the place `name`.
#[cfg(debug_assertions)]
pub fn reach(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static CHOSEN: OnceLock<Option<(String, u64, Option<Duration>)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("WEIR_FAILPOINT").ok()?;
        let mut parts = text.split(':');
        let (name, count) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let delay = parts.next().map(str::parse).transpose().ok()?;
        Some((name, count, delay.map(Duration::from_millis)))
    });
    if let Some((place, count, delay)) = chosen
        && place == name
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        match delay {
            Some(delay) => std::thread::sleep(*delay),
            None => std::process::abort(),
        }
    }
}

/// The program has come to the place `name`.
#[cfg(not(debug_assertions))]
pub fn reach(_name: &str) {}
