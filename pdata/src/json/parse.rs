//! From the bytes of a line to a tree. Numbers are read exactly, which `serde_json` does only with features
//! that cost everybody else: a float is the nearest one to its digits, and an integer beyond 64 bits keeps
//! them.
//!
//! Half a surrogate pair, which some writers leave where they cut a text, becomes U+FFFD: one broken
//! character must not cost the line. A byte order mark before the value is skipped.

use super::value::Json;

/// Deeper nesting is an error: reading is recursive.
const MAX_DEPTH: usize = 128;

/// Reads one value that takes all of `bytes`. The error says what is wrong, and at which byte.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("the text is not UTF-8 at column {}", error.valid_up_to() + 1))?;
    let start = text.strip_prefix('\u{feff}').map_or(0, |_| '\u{feff}'.len_utf8());
    let mut reader = Reader { text, at: start };
    let value = reader.value(0)?;
    reader.skip_blanks();
    if reader.at < text.len() {
        return Err(reader.wrong("trailing characters"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    /// Between characters, never within one.
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("{what} at column {}", self.at + 1)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips blanks, then this byte when it is there.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.wrong("expected value")),
            None => Err(self.wrong("the line ends where a value is expected,")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        match self.text[self.at..].starts_with(word) {
            true => {
                self.at += word.len();
                Ok(value)
            }
            false => Err(self.wrong("expected value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("expected a key in quotes"));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("expected `:`"));
            }
            fields.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(self.wrong("a number begins with 0"));
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let written = &self.text[start..self.at];
        if whole {
            return Ok(match written.parse() {
                // A float has a minus zero, an integer has not.
                Ok(0) if written.starts_with('-') => Json::Float(-0.0),
                Ok(integer) => Json::Int(integer),
                Err(_) => Json::Large(written.to_owned()),
            });
        }
        match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Json::Float(number)),
            _ => Err(self.wrong("number out of range")),
        }
    }

    /// Skips at least one digit, and says how many.
    fn digits(&mut self) -> Result<usize, String> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("expected a digit")) } else { Ok(self.at - start) }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let Some(plain) = plain else {
                self.at = self.text.len();
                return Err(self.wrong("the line ends within a text"));
            };
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => {
                    self.at += 1;
                    string.push(self.escaped()?);
                }
                _ => return Err(self.wrong("control character within a text")),
            }
        }
    }

    /// The character that an escape stands for, after its backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let Some(byte) = self.peek() else { return Err(self.wrong("the line ends within a text")) };
        if byte == b'u' {
            self.at += 1;
            return self.unicode();
        }
        let character = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return Err(self.wrong("invalid escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// The character of `\u` and four digits, or of two of them that are a surrogate pair.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hexadecimal()?;
        if !(0xd800..0xdc00).contains(&first) {
            // Of a second half alone there is no character.
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_first = self.at;
        if self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, String> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|four| four.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|four| u32::from_str_radix(four, 16).ok());
        let Some(number) = number else { return Err(self.wrong("invalid escape")) };
        self.at += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_one_broken_character() {
        for (json, text) in [
            (r#""a\ud800b""#, "a\u{fffd}b"),
            (r#""\udc00""#, "\u{fffd}"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        ] {
            assert_eq!(parse(json.as_bytes()), Ok(Json::Text(text.to_owned())), "{json}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse("\u{feff}7".as_bytes()), Ok(Json::Int(7)));
    }

    #[test]
    fn large_integers_keep_their_digits() {
        for (json, value) in [
            ("9223372036854775807", Json::Int(i64::MAX)),
            ("-9223372036854775808", Json::Int(i64::MIN)),
            ("9223372036854775808", Json::Large("9223372036854775808".to_owned())),
            ("-0", Json::Float(-0.0)),
        ] {
            assert_eq!(parse(json.as_bytes()), Ok(value), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_with_its_place() {
        for (json, error) in [
            ("", "ends where a value is expected, at column 1"),
            ("{\"a\":}", "expected value at column 6"),
            ("[1,]", "expected value at column 4"),
            ("{\"a\" 1}", "expected `:` at column 6"),
            ("{a:1}", "expected a key in quotes at column 2"),
            ("1 2", "trailing characters at column 3"),
            ("01", "begins with 0"),
            ("1.", "expected a digit at column 3"),
            ("1e999", "number out of range"),
            ("\"a", "the line ends within a text"),
            ("\"\u{1}\"", "control character"),
            ("\"\\x\"", "invalid escape"),
            ("\"\\u12\"", "invalid escape"),
            ("nul", "expected value"),
        ] {
            let found = parse(json.as_bytes());
            assert!(found.as_ref().is_err_and(|found| found.contains(error)), "{json}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in "[\\[\\]{}:,\"\\\\ a0-9.eE+ntrufals-]{0,24}") {
            let known = serde_json::from_str::<serde_json::Value>(&text);
            let found = parse(text.as_bytes());
            // Half a pair is the one difference.
            prop_assert!(known.is_ok() == found.is_ok() || text.contains("\\u"), "{text}: {known:?} {found:?}");
        }

        #[test]
        fn floats_are_read_as_they_were_written(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let written = format!("{number:e}");
            let Ok(Json::Float(read)) = parse(written.as_bytes()) else { panic!("{written}") };
            prop_assert_eq!(read.to_bits(), bits);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }
    }
}
