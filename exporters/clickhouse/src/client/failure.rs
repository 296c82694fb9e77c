//! The meaning of a failed request: try again, or give the rows up.

use std::time::Duration;

use clickhouse::error::Error;
use hyper::StatusCode;
use weir_component::ExportError;

use crate::client::answer::{Refusal, code};

/// A request that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// ClickHouse's error code, when the server sent one.
    code: Option<u32>,
    text: String,
    meaning: Meaning,
    /// When to try again, if the server said so.
    after: Option<Duration>,
    /// The constraint that rows violate.
    constraint: Option<String>,
    /// The view that refuses them.
    view: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The server, the network or a setting is at fault.
    Server,
    /// The rows are at fault, or there are too many of them at once.
    Rows,
    /// The table has the rows; a materialized view behind it refuses them.
    View,
}

/// Longest part of an error text that is kept: servers repeat the statement in it.
const SHOWN: usize = 600;

/// Codes for rows that the server will never take.
const BAD_ROWS: [u32; 27] = [
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
    153, // ILLEGAL_DIVISION
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    376, // CANNOT_PARSE_UUID
    395, // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    407, // DECIMAL_OVERFLOW
    441, // CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
    467, // CANNOT_PARSE_BOOL
    469, // VIOLATED_CONSTRAINT
    636, // CANNOT_EXTRACT_TABLE_STRUCTURE
    675, // CANNOT_PARSE_IPV4
    676, // CANNOT_PARSE_IPV6
    691, // UNKNOWN_ELEMENT_OF_ENUM
];
/// Codes that can mean that the table's columns are not what they were: gone, computed now, of another type.
const OTHER_COLUMNS: [u32; 12] = [
    8,   // THERE_IS_NO_COLUMN
    10,  // NOT_FOUND_COLUMN_IN_BLOCK
    16,  // NO_SUCH_COLUMN_IN_TABLE
    43,  // ILLEGAL_TYPE_OF_ARGUMENT
    44,  // ILLEGAL_COLUMN
    47,  // UNKNOWN_IDENTIFIER
    53,  // TYPE_MISMATCH
    60,  // UNKNOWN_TABLE
    70,  // CANNOT_CONVERT_TYPE
    81,  // UNKNOWN_DATABASE
    117, // INCORRECT_DATA
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
];
/// Codes of texts that are no element of an `Enum`, or too long for a `FixedString`.
const TEXTS_OF_A_TYPE: [u32; 2] = [131, 691];
const VIOLATED_CONSTRAINT: u32 = 469;
const CONVERTING: &str = "while converting column";
/// A text in a row that ends too early to be a number, say; or a body that does.
const ATTEMPT_TO_READ_AFTER_EOF: u32 = 32;
const UNKNOWN_SETTING: u32 = 115;
const SUPPORT_IS_DISABLED: u32 = 344;
const ACCESS_DENIED: u32 = 497;
const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;
const TOO_MANY_PARTS: u32 = 252;
/// A view's select failed, or its target refused what it gave. The table itself has stored the block before.
const IN_A_VIEW: &str = "while pushing to view";

impl Failure {
    /// A failure that the exporter itself found, worth another try.
    pub(crate) fn other(text: impl Into<String>) -> Failure {
        Failure {
            code: None,
            text: text.into(),
            meaning: Meaning::Server,
            after: None,
            constraint: None,
            view: None,
        }
    }

    /// Whether the server was not reached, or is not what it was taken for.
    pub(crate) fn is_of_the_server(&self) -> bool {
        self.meaning == Meaning::Server
            && self.code.is_none_or(|code| matches!(code, UNKNOWN_SETTING | SUPPORT_IS_DISABLED))
    }

    /// Whether the user may not do this.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == Some(ACCESS_DENIED)
    }

    /// Whether the table or its database does not exist.
    pub(crate) fn is_missing_table(&self) -> bool {
        matches!(self.code, Some(UNKNOWN_TABLE | UNKNOWN_DATABASE))
    }

    /// Whether the database does not exist.
    pub(crate) fn is_missing_database(&self) -> bool {
        self.code == Some(UNKNOWN_DATABASE)
    }

    /// Whether it can mean that the table's columns have changed.
    pub(crate) fn asks_for_columns(&self) -> bool {
        let Some(code) = self.code.filter(|_| self.meaning != Meaning::View) else { return false };
        // A text that is no number, say. What an `Enum` or a `FixedString` cannot hold is known from the
        // rows.
        let of_another_type = self.text.contains(CONVERTING) && !TEXTS_OF_A_TYPE.contains(&code);
        OTHER_COLUMNS.contains(&code) || of_another_type
    }

    /// The materialized view that refuses rows which the table itself has taken.
    pub(crate) fn view(&self) -> Option<&str> {
        self.view.as_deref().filter(|_| self.meaning == Meaning::View)
    }

    /// Whether rows of the insert are at fault, or there are too many of them.
    pub(crate) fn is_of_rows(&self) -> bool {
        self.meaning == Meaning::Rows
    }

    /// Whether a text is none that its column can hold.
    pub(crate) fn is_of_a_type(&self) -> bool {
        self.meaning == Meaning::Rows && self.code.is_some_and(|code| TEXTS_OF_A_TYPE.contains(&code))
    }

    /// Whether single rows are at fault, and not their number.
    pub(crate) fn is_of_single_rows(&self) -> bool {
        self.meaning == Meaning::Rows && self.code.is_some_and(|code| code != TOO_MANY_PARTS)
    }

    /// Whether a value could not be brought to its column's type.
    pub(crate) fn is_of_a_conversion(&self) -> bool {
        self.meaning == Meaning::Rows && self.text.contains(CONVERTING)
    }

    /// The expression of the constraint that rows violate.
    pub(crate) fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// As the helper needs it, for an insert of rows. `rows`: which are at fault, if that is known.
    pub(crate) fn of_insert(self, table: &str, rows: Vec<usize>) -> ExportError {
        let reason = format!("insert into `{table}`: {}", self.text);
        match (self.meaning, self.code) {
            // Of a proxy's limit, or of rows of too many days.
            (Meaning::Rows, None | Some(TOO_MANY_PARTS)) => ExportError::TooLarge { reason },
            (Meaning::Rows, Some(_)) => ExportError::Permanent { reason, rows },
            // Never as refused rows: they are in the table.
            (Meaning::Server | Meaning::View, _) => ExportError::Retryable { reason, after: self.after },
        }
    }

    /// As the helper needs it, for a request without rows: nothing there is the rows' fault.
    pub(crate) fn of_preparation(self, table: &str) -> ExportError {
        ExportError::retryable(format!("table `{table}` is not ready: {}", self.text))
    }

    /// The meaning of the answer to an insert: by its code when ClickHouse has answered, else by its status.
    fn of_answer(
        code: Option<u32>,
        status: Option<StatusCode>,
        text: String,
        after: Option<Duration>,
    ) -> Failure {
        let rows = match code {
            Some(TOO_MANY_PARTS) => text.contains("single INSERT block"),
            Some(ATTEMPT_TO_READ_AFTER_EOF) => text.contains("Cannot parse") && text.contains("from String"),
            Some(code) => BAD_ROWS.contains(&code),
            // A proxy's limit on the size of a request: fewer rows at a time will do.
            None => status == Some(StatusCode::PAYLOAD_TOO_LARGE),
        };
        let meaning = match rows {
            true if text.contains(IN_A_VIEW) => Meaning::View,
            true => Meaning::Rows,
            false => Meaning::Server,
        };
        let constraint =
            (meaning == Meaning::Rows && code == Some(VIOLATED_CONSTRAINT)).then(|| expression(&text));
        let view = text.split_once(IN_A_VIEW).map(|(_, view)| {
            let view = view.trim_start();
            let end = view.find([' ', ':', '(', ')']).unwrap_or(view.len());
            view[..end].trim_end_matches('.').to_owned()
        });
        Failure { code, text: shortened(text), meaning, after, constraint: constraint.flatten(), view }
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { status, code, after, text }: Refusal) -> Failure {
        let text = match code {
            Some(_) if !text.is_empty() => text,
            Some(code) => format!("Code: {code}."),
            None if text.is_empty() => format!("the answer is {status}"),
            None => format!("the answer is {status}, and not ClickHouse's: {text}"),
        };
        Failure::of_answer(code, Some(status), text, after)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let Error::BadResponse(answer) = error else {
            return Failure::other(chain(&error));
        };
        let code = code(&answer);
        Failure::of_answer(code, None, answer, None)
    }
}

/// The expression in `Constraint … is violated at row 4. Expression: (length(a) < 3). Column values: a =
/// 'abc'`. Values come after it.
fn expression(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Expression: (")?;
    let (expression, _) = rest.split_once("). Column values: ")?;
    Some(format!("({expression})"))
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The error and what caused it: a network error says what failed only in its causes.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
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

    fn failure(status: u16, code: Option<u32>, text: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::from(Refusal { status, code, after: None, text: text.to_owned() })
    }

    fn of_code(code: u32) -> Failure {
        failure(500, Some(code), &format!("Code: {code}. DB::Exception: no. (NAME) (version 26.9)"))
    }

    fn retried(error: &ExportError) -> bool {
        matches!(error, ExportError::Retryable { .. })
    }

    #[test]
    fn a_server_at_fault_is_tried_again() {
        for code in [16, 60, 81, 159, 202, 209, 210, 241, 242, 252, 319, 497, 516, 999, 4_000] {
            assert!(retried(&of_code(code).of_insert("t", Vec::new())), "{code}");
        }
        assert!(retried(&Failure::from(Error::Network("refused".into())).of_insert("t", Vec::new())));
        assert!(retried(&Failure::from(Error::TimedOut).of_insert("t", Vec::new())));
    }

    #[test]
    fn an_answer_that_is_not_clickhouses_is_read_by_its_status() {
        for status in [301, 400, 401, 403, 404, 405, 407, 408, 429, 431, 500, 502, 503, 504] {
            let page = failure(status, None, "<html>Code: 469 is the rows' fault</html>");
            assert!(retried(&page.clone().of_insert("t", Vec::new())), "{status}");
            assert!(page.to_string().contains(&status.to_string()), "{page}");
        }
        assert!(!retried(&failure(413, None, "<html>\r\n<h1>413</h1></html>").of_insert("t", Vec::new())));
        assert!(!retried(&failure(413, None, "").of_insert("t", Vec::new())));
    }

    #[test]
    fn bad_rows_are_given_up() {
        for code in BAD_ROWS {
            assert!(!retried(&of_code(code).of_insert("t", Vec::new())), "{code}");
        }
    }

    #[test]
    fn rows_that_a_view_refuses_are_not_taken_for_refused_rows() {
        for what in ["Code: 6. DB::Exception: Cannot parse", "Code: 252. DB::Exception: single INSERT block"]
        {
            let text = format!("{what}: while pushing to view weir.v. (X)");
            let view = failure(500, code(&text), &text);
            assert_eq!(view.view(), Some("weir.v"), "{text}");
            assert!(retried(&view.of_insert("t", Vec::new())), "{text}");
        }
        let memory = "Code: 241. DB::Exception: no memory: while pushing to view weir.v. (X)";
        assert_eq!(failure(500, Some(241), memory).view(), None, "worth another try");
    }

    #[test]
    fn a_text_that_ends_too_early_is_told_from_a_body_that_does() {
        let text = "Code: 32. DB::Exception: Attempt to read after eof: Cannot parse UInt16 from String, because value is too short";
        assert!(!retried(&failure(500, Some(32), text).of_insert("t", Vec::new())));
        assert!(retried(
            &failure(
                500,
                Some(32),
                "Code: 32. DB::Exception: Attempt to read after eof: While executing Native"
            )
            .of_insert("t", Vec::new())
        ));
    }

    #[test]
    fn an_insert_too_large_for_the_server_is_split_and_not_repeated() {
        let text = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
        assert!(!retried(&failure(500, Some(252), text).of_insert("t", Vec::new())));
    }

    #[test]
    fn what_can_mean_other_columns_asks_for_them() {
        assert!(of_code(44).asks_for_columns() && of_code(16).asks_for_columns());
        assert!(!of_code(469).asks_for_columns() && !of_code(241).asks_for_columns());
        let text = "Code: 6. DB::Exception: no: while converting column \"a\" from type String to type UInt8";
        for code in [6, 32, 72] {
            assert!(failure(400, Some(code), text).asks_for_columns() && !of_code(code).asks_for_columns());
        }
        assert!(!failure(400, Some(691), text).asks_for_columns());
    }

    #[test]
    fn the_constraint_is_what_the_table_says_whatever_the_values_are() {
        let text = "Code: 469. DB::Exception: Constraint `c` for table d.t (1-2) is violated at row 4. Expression: \
                    ((length(a) < 3) OR (b = ')')). Column values: a = 'x', b = 'Expression: (1). Column values: '. (X)";
        assert_eq!(failure(500, Some(469), text).constraint(), Some("((length(a) < 3) OR (b = ')'))"));
        assert_eq!(of_code(469).constraint(), None);
    }

    #[test]
    fn the_reason_names_the_table_and_is_of_bounded_length() {
        let long = failure(500, Some(241), &format!("Code: 241. {}", "ü".repeat(5_000)));
        let ExportError::Retryable { reason, .. } = long.of_insert("t", Vec::new()) else {
            panic!("not retryable")
        };
        assert!(reason.starts_with("insert into `t`: Code: 241."));
        assert!(reason.chars().count() < 700, "{}", reason.len());
    }
}
