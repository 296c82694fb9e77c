//! The settings of `file`. The key-by-key list is in the README.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use weir_component::Settings;
use weir_config::{ByteSize, Diagnostics};

/// Which files are read, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
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
pub struct Paths(pub Vec<PathBuf>);

const fn four_thousand() -> usize {
    4096
}

const fn sixteen_mib() -> ByteSize {
    ByteSize::mib(16)
}

/// So that the lines of a batch stay far below the 2 GiB that its columns can address.
const MOST_LINE_BYTES: ByteSize = ByteSize::mib(512);

impl FileConfig {
    /// Checks what serde cannot.
    pub fn check(&self, settings: Settings<'_>) -> Result<(), Diagnostics> {
        let mut found = Diagnostics::new();
        let paths = &self.path.0;
        if paths.is_empty() {
            found.push(settings.error_at("path", "the list is empty: name a file"));
        }
        for (index, path) in paths.iter().enumerate() {
            let key = format!("path[{index}]");
            if path.as_os_str().is_empty() {
                found.push(settings.error_at(&key, "the path is empty: name a file"));
            } else if paths[..index].contains(path) {
                found.push(settings.error_at(&key, format!("`{}` is named twice", path.display())));
            }
        }
        if self.max_batch_rows == 0 {
            found.push(settings.error_at("max_batch_rows", "must be at least 1"));
        }
        if self.max_line_bytes.get() == 0 || self.max_line_bytes > MOST_LINE_BYTES {
            let message = format!("must be between 1B and {MOST_LINE_BYTES}");
            found.push(settings.error_at("max_line_bytes", message));
        }
        found.into_result(())
    }
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
