//! Reading blocks as a server does, for tests.

use cityhash_rs::cityhash_102_128;

use crate::block::Body;

/// What a server reads out of frames.
pub(crate) fn unframed(mut frames: &[u8]) -> Vec<u8> {
    const CHECKSUM: usize = 16;
    let mut found = Vec::new();
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
    while !frames.is_empty() {
        let (size, data) = (number(&frames[17..21]), number(&frames[21..25]));
        let (frame, rest) = frames.split_at(CHECKSUM + size);
        let checksum = cityhash_102_128(&frame[CHECKSUM..]);
        assert_eq!(frame[..8], ((checksum >> 64) as u64).to_le_bytes());
        assert_eq!(frame[8..16], (checksum as u64).to_le_bytes());
        assert_eq!(frame[16], 0x82);
        found.extend(lz4_flex::block::decompress(&frame[25..], data).unwrap());
        frames = rest;
    }
    found
}

/// The rows of a plain block as text: `column=value`, in the order sent. Times are numbers.
pub(crate) fn rows(body: &Body) -> Vec<String> {
    let columns = columns(body);
    let rows = columns.first().map_or(0, |(_, _, values)| values.len());
    let row = |row: usize| {
        let cells = columns.iter().map(|(name, _, values)| format!("{name}={}", values[row]));
        cells.collect::<Vec<_>>().join(" ")
    };
    (0..rows).map(row).collect()
}

/// The name, the type and the values of each column of a plain block.
pub(crate) fn columns(body: &Body) -> Vec<(String, String, Vec<String>)> {
    let sent = body.parts.concat();
    let mut reading = Reading(&sent);
    let (columns, rows) = (reading.length(), reading.length());
    let columns: Vec<_> = (0..columns)
        .map(|_| {
            let (name, kind) = (reading.text(), reading.text());
            reading.versions(&kind);
            let values = reading.values(&kind, rows);
            (name, kind, values)
        })
        .collect();
    assert!(reading.0.is_empty(), "{} bytes are left", reading.0.len());
    assert!(columns.iter().map(|(name, ..)| name).eq(&body.columns));
    columns
}

/// Bytes still to be read.
pub(crate) struct Reading<'a>(pub &'a [u8]);

impl Reading<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *bytes
    }

    fn number(&mut self) -> usize {
        usize::try_from(u64::from_le_bytes(self.bytes())).unwrap()
    }

    fn length(&mut self) -> usize {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let [byte] = self.bytes();
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn text(&mut self) -> String {
        let len = self.length();
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// The next text, if there is more.
    pub fn next_text(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.text())
    }

    /// The texts of a `LowCardinality(String)`.
    pub fn words(&mut self) -> Vec<String> {
        let head = self.number();
        assert_eq!(head & !0xff, 0x600);
        let distinct = self.number();
        let distinct: Vec<String> = (0..distinct).map(|_| self.text()).collect();
        let count = self.number();
        let width = 1 << (head & 0xff);
        let (numbers, rest) = self.0.split_at(count * width);
        self.0 = rest;
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
        numbers.chunks(width).map(|bytes| distinct[number(bytes)].clone()).collect()
    }

    /// What comes before all values.
    fn versions(&mut self, kind: &str) {
        for _ in kind.matches("LowCardinality") {
            assert_eq!(self.number(), 1);
        }
    }

    fn values(&mut self, kind: &str, rows: usize) -> Vec<String> {
        if let Some(inner) = inside(kind, "Nullable") {
            let missing: Vec<bool> = (0..rows).map(|_| self.bytes() == [1]).collect();
            let values = self.values(inner, rows);
            let shown = missing.iter().zip(values);
            return shown.map(|(missing, value)| if *missing { "NULL".into() } else { value }).collect();
        }
        if let Some(inner) = inside(kind, "Map") {
            let ends: Vec<usize> = (0..rows).map(|_| self.number()).collect();
            let count = ends.last().copied().unwrap_or(0);
            let (key, value) = inner.split_once(", ").unwrap();
            let (keys, values) = (self.values(key, count), self.values(value, count));
            let entries = keys.iter().zip(values).map(|(key, value)| format!("{key}: {value}"));
            return lists(&ends, entries, '{', '}');
        }
        if let Some(inner) = inside(kind, "Array").and_then(|inner| inside(inner, "Tuple")) {
            let ends: Vec<usize> = (0..rows).map(|_| self.number()).collect();
            let count = ends.last().copied().unwrap_or(0);
            let mut entries = vec![Vec::new(); count];
            for field in fields(inner) {
                let (name, kind) = field.split_once(' ').unwrap();
                for (entry, value) in entries.iter_mut().zip(self.values(kind, count)) {
                    entry.push(format!("{name}: {value}"));
                }
            }
            return lists(&ends, entries.iter().map(|entry| format!("({})", entry.join(", "))), '[', ']');
        }
        if kind == "LowCardinality(String)" {
            return if rows == 0 { Vec::new() } else { self.words() };
        }
        (0..rows).map(|_| self.value(kind)).collect()
    }

    fn value(&mut self, kind: &str) -> String {
        match kind.split('(').next().unwrap() {
            "String" => self.text(),
            "Bool" => (self.bytes() == [1]).to_string(),
            "Int8" => i8::from_le_bytes(self.bytes()).to_string(),
            "Int16" => i16::from_le_bytes(self.bytes()).to_string(),
            "Int32" => i32::from_le_bytes(self.bytes()).to_string(),
            "Int64" | "DateTime64" => i64::from_le_bytes(self.bytes()).to_string(),
            "UInt8" => u8::from_le_bytes(self.bytes()).to_string(),
            "UInt16" => u16::from_le_bytes(self.bytes()).to_string(),
            "UInt32" | "DateTime" => u32::from_le_bytes(self.bytes()).to_string(),
            "UInt64" => u64::from_le_bytes(self.bytes()).to_string(),
            "Float32" => f32::from_le_bytes(self.bytes()).to_string(),
            "Float64" => f64::from_le_bytes(self.bytes()).to_string(),
            other => panic!("{other} is not read"),
        }
    }
}

fn inside<'a>(kind: &'a str, name: &str) -> Option<&'a str> {
    kind.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

/// The fields of a tuple.
fn fields(inner: &str) -> Vec<&str> {
    let (mut found, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(inner[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(inner[begin..].trim());
    found
}

/// The entries of each row.
fn lists(ends: &[usize], entries: impl Iterator<Item = String>, open: char, close: char) -> Vec<String> {
    let entries: Vec<String> = entries.collect();
    let begins = [0].iter().chain(ends);
    let row = |(begin, end): (&usize, &usize)| format!("{open}{}{close}", entries[*begin..*end].join(", "));
    begins.zip(ends).map(row).collect()
}
