//! File names for queues, keys and segments.

use std::fmt::Write;

/// Longest name of a file or folder made of a name that somebody chose.
const LONGEST: usize = 200;

/// The file name for a name of any text, without a dot; `None` when that would be too long or empty.
#[must_use]
pub fn file_name(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => text.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    (1..=LONGEST).contains(&text.len()).then_some(text)
}

/// The name of the segment that begins with this record.
#[must_use]
pub fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The highest number that a record may have: far from where counting would overflow.
pub const HIGHEST: u64 = u64::MAX / 2;

/// The first record of the segment with this file name; `None` for other files.
#[must_use]
pub fn segment_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".log")?;
    let number = digits.parse().ok().filter(|first| (1..=HIGHEST).contains(first))?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_files_and_none_leaves_its_folder() {
        let names = ["clickhouse", "clickhouse/main", "clickhouse%2Fmain", "..", ".a", "a.b", "主"];
        let files: Vec<_> = names.iter().map(|name| file_name(name).unwrap()).collect();
        let unique: std::collections::BTreeSet<_> = files.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(files.iter().all(|file| !file.contains('/') && !file.contains('.')), "{files:?}");
        assert_eq!(file_name(""), None);
        assert_eq!(file_name(&"主".repeat(30)), None);
        assert_eq!(segment_of(&segment_name(42)), Some(42));
        assert_eq!(segment_of("42.log"), None);
        assert_eq!(segment_of("99999999999999999999.log"), None);
        assert_eq!(segment_of("18446744073709551615.log"), None);
    }
}
