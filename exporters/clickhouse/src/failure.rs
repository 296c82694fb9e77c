//! What a failed request means: try again, or give the rows up.

use clickhouse::error::Error;
use weir_component::ExportError;

/// A request that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// ClickHouse's error code, when the server sent one.
    code: Option<u32>,
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The server, the network or a setting is at fault.
    Server,
    /// The rows are at fault, or there are too many of them at once.
    Rows,
}

/// Longest part of an error text that is kept: servers repeat the statement in it.
const SHOWN: usize = 600;

/// Codes for rows that the server will never take.
const BAD_ROWS: [u32; 19] = [
    6,   // CANNOT_PARSE_TEXT
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    33,  // CANNOT_READ_ALL_DATA
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    50,  // UNKNOWN_TYPE
    53,  // TYPE_MISMATCH
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    469, // VIOLATED_CONSTRAINT
    636, // CANNOT_EXTRACT_TABLE_STRUCTURE
    691, // UNKNOWN_ELEMENT_OF_ENUM
];
const NO_SUCH_COLUMN_IN_TABLE: u32 = 16;
const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;
const TOO_MANY_PARTS: u32 = 252;

impl Failure {
    /// A failure that the exporter itself found, worth another try.
    pub fn other(text: impl Into<String>) -> Failure {
        Failure { code: None, text: text.into(), meaning: Meaning::Server }
    }

    /// Whether the table lacks a column that the insert named.
    pub fn is_missing_column(&self) -> bool {
        self.code == Some(NO_SUCH_COLUMN_IN_TABLE)
    }

    /// Whether the table or its database does not exist.
    pub fn is_missing_table(&self) -> bool {
        matches!(self.code, Some(UNKNOWN_TABLE | UNKNOWN_DATABASE))
    }

    /// As the helper needs it, for an insert of rows.
    pub fn of_insert(self, table: &str) -> ExportError {
        let reason = format!("insert into `{table}`: {}", self.text);
        match self.meaning {
            Meaning::Server => ExportError::retryable(reason),
            Meaning::Rows => ExportError::permanent(reason),
        }
    }

    /// As the helper needs it, for a request without rows: nothing there is the rows' fault.
    pub fn of_preparation(self, table: &str) -> ExportError {
        ExportError::retryable(format!("table `{table}` is not ready: {}", self.text))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let Error::BadResponse(answer) = error else {
            return Failure::other(chain(&error));
        };
        let code = code(&answer);
        let meaning = match code {
            Some(code) if BAD_ROWS.contains(&code) => Meaning::Rows,
            // One insert into too many partitions: fewer rows at a time will do.
            Some(TOO_MANY_PARTS) if answer.contains("single INSERT block") => Meaning::Rows,
            // A proxy's limit on the size of a request: likewise.
            None if answer.starts_with("413") => Meaning::Rows,
            _ => Meaning::Server,
        };
        Failure { code, text: shortened(answer), meaning }
    }
}

/// The number in `Code: 252. DB::Exception: …`.
fn code(answer: &str) -> Option<u32> {
    let rest = answer.split_once("Code: ")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The error and what caused it: a network error says what failed only in its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    shortened(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert_of(answer: &str) -> ExportError {
        Failure::from(Error::BadResponse(answer.to_owned())).of_insert("t")
    }

    fn retried(error: &ExportError) -> bool {
        matches!(error, ExportError::Retryable { .. })
    }

    #[test]
    fn a_server_at_fault_is_tried_again() {
        for code in [16, 60, 81, 159, 202, 209, 210, 241, 242, 252, 319, 497, 516, 999, 4_000] {
            let error = insert_of(&format!("Code: {code}. DB::Exception: no. (NAME) (version 26.9)"));
            assert!(retried(&error), "{code}");
        }
        for answer in ["503 Service Unavailable", "401 Unauthorized", "something else"] {
            assert!(retried(&insert_of(answer)), "{answer}");
        }
        assert!(retried(&Failure::from(Error::Network("refused".into())).of_insert("t")));
        assert!(retried(&Failure::from(Error::TimedOut).of_insert("t")));
    }

    #[test]
    fn bad_rows_are_given_up() {
        for code in BAD_ROWS {
            let error = insert_of(&format!("Code: {code}. DB::Exception: no. (NAME) (version 26.9)"));
            assert!(!retried(&error), "{code}");
        }
    }

    #[test]
    fn an_insert_too_large_for_the_server_is_split_and_not_repeated() {
        assert!(!retried(&insert_of("413 Payload Too Large")));
        assert!(!retried(&insert_of(
            "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100)."
        )));
    }

    #[test]
    fn the_reason_names_the_table_and_is_of_bounded_length() {
        let ExportError::Retryable { reason, .. } = insert_of(&format!("Code: 241. {}", "ü".repeat(5_000)))
        else {
            panic!("not retryable")
        };
        assert!(reason.starts_with("insert into `t`: Code: 241."));
        assert!(reason.chars().count() < 700, "{}", reason.len());
    }
}
