//! Why an export failed, and whether a retry helps.

use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use weir_component::ExportError;

/// Why some rows are not in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// The act that was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another program writes into the directory.
    #[error(
        "the directory {} is in use by another running program, whose unfinished files must not be removed: stop that \
         program, or give each its own `directory`",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The writer could not write the file.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The writer's error.
        reason: String,
    },
    /// The columns of a batch cannot be stored.
    #[error("the columns of a batch cannot be stored: {0}")]
    Columns(#[from] ArrowError),
}

impl LocalError {
    /// For `map_err` on file operations.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LocalError + use<> {
        let path = path.to_owned();
        move |source| LocalError::File { what, path, source }
    }

    /// For `map_err` on the Parquet writer. Only an error in the columns is the data's fault.
    pub(crate) fn write(path: &Path) -> impl FnOnce(ParquetError) -> LocalError + use<> {
        let path = path.to_owned();
        move |error| match error {
            ParquetError::ArrowError(reason) => LocalError::Columns(ArrowError::ParquetError(reason)),
            error => LocalError::Write { path, reason: error.to_string() },
        }
    }
}

impl From<LocalError> for ExportError {
    fn from(error: LocalError) -> ExportError {
        match error {
            LocalError::File { .. } | LocalError::Write { .. } | LocalError::InUse { .. } => {
                ExportError::retryable(error.to_string())
            }
            LocalError::Columns(_) => ExportError::permanent(error.to_string()),
        }
    }
}
