//! The settings of `file`. The key-by-key list is in the README.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use weir_component::{Check, Settings};
use weir_config::{ByteSize, Diagnostics};

/// Which files are read, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// The files.
    pub path: Paths,
    /// Go on reading as the files grow.
    #[serde(default)]
    pub follow: bool,
    /// Lines that form a batch at most.
    #[serde(default = "four_thousand")]
    pub max_batch_rows: usize,
    /// Longer lines are rejected.
    #[serde(default = "sixteen_mib")]
    pub max_line_bytes: ByteSize,
}

/// One path or a list of paths.
#[derive(Clone, Debug)]
pub(crate) struct Paths(pub Vec<PathBuf>);

const fn four_thousand() -> usize {
    4096
}

const fn sixteen_mib() -> ByteSize {
    ByteSize::mib(16)
}

/// So that the lines of a batch stay far below the 2 GiB that its columns can address.
const MOST_LINE_BYTES: ByteSize = ByteSize::mib(512);

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<FileConfig, Diagnostics> {
    let config: FileConfig = settings.read()?;
    let mut check = Check::new(settings);
    let paths = &config.path.0;
    if paths.is_empty() {
        check.wrong("path", "the list is empty: name a file");
    }
    for (index, path) in paths.iter().enumerate() {
        let key = format!("path[{index}]");
        if path.as_os_str().is_empty() {
            check.wrong(&key, "the path is empty: name a file");
        } else if paths[..index].contains(path) {
            check.wrong(&key, format!("`{}` is named twice", path.display()));
        }
    }
    if config.max_batch_rows == 0 {
        check.wrong("max_batch_rows", "must be at least 1");
    }
    if config.max_line_bytes.get() == 0 || config.max_line_bytes > MOST_LINE_BYTES {
        check.wrong("max_line_bytes", format!("must be between 1B and {MOST_LINE_BYTES}"));
    }
    check.finish(config)
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Paths, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Paths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Paths, E> {
                Ok(Paths(vec![path.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = list.next_element::<PathBuf>()? {
                    paths.push(path);
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
