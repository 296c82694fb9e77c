//! The settings of `storage`. The key-by-key list is in the README.

use std::path::PathBuf;

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics, Duration};

/// Largest segment when nothing is said.
const SEGMENT: u64 = 32 << 20;
/// Smallest segment that makes sense: a file and its deletion cost more than that.
const MIN_SEGMENT: u64 = 64 << 10;

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    directory: PathBuf,
    #[serde(default = "gib")]
    max_bytes: ByteSize,
    segment_bytes: Option<ByteSize>,
    #[serde(default = "always")]
    fsync: String,
}

fn gib() -> ByteSize {
    ByteSize::gib(1)
}

fn always() -> String {
    "always".to_owned()
}

/// Where files are, how large, and when they are safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// The directory. Made when missing.
    pub directory: PathBuf,
    /// Sizes and durability of every queue.
    pub limits: Limits,
}

/// Sizes and durability of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of all segments together.
    pub max_bytes: u64,
    /// Bytes after which a new segment begins.
    pub segment_bytes: u64,
    /// When an append counts as safe.
    pub fsync: Fsync,
}

/// When an append counts as safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the disk has it.
    Always,
    /// When it is written; the disk has it at latest this much later.
    Interval(std::time::Duration),
    /// When it is written.
    Never,
}

impl StorageConfig {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Every wrong key and value, with its place.
    pub fn read(settings: Settings<'_>) -> Result<StorageConfig, Diagnostics> {
        let keys: Keys = settings.read()?;
        let mut check = Check::new(settings);
        if keys.directory.as_os_str().is_empty() {
            check.wrong("directory", "must not be empty");
        }
        let max_bytes = keys.max_bytes.get();
        if max_bytes < 4 * MIN_SEGMENT {
            check.wrong("max_bytes", "must be at least 256KiB");
        }
        let segment_bytes =
            keys.segment_bytes.map_or((max_bytes / 8).clamp(MIN_SEGMENT, SEGMENT), ByteSize::get);
        if segment_bytes < MIN_SEGMENT {
            check.wrong("segment_bytes", "must be at least 64KiB");
        } else if segment_bytes > max_bytes / 4 && keys.segment_bytes.is_some() {
            let message =
                "must be at most a quarter of `max_bytes`: a full queue gets room again segment by segment";
            check.wrong("segment_bytes", message);
        }
        let fsync = match keys.fsync.as_str() {
            "always" => Fsync::Always,
            "never" => Fsync::Never,
            text => match text.parse::<Duration>() {
                Ok(every) if !every.get().is_zero() => Fsync::Interval(every.get()),
                _ => {
                    check.wrong("fsync", "must be `always`, `never`, or a duration such as `1s`");
                    Fsync::Always
                }
            },
        };
        let limits = Limits { max_bytes, segment_bytes, fsync };
        check.finish(StorageConfig { directory: keys.directory, limits })
    }
}
