//! The text that a template gives.

use std::fmt;

/// Takes the first bytes, whole characters of them, and says when it is full.
#[derive(Debug)]
pub(crate) struct Text {
    text: String,
    most: usize,
    full: bool,
}

impl Text {
    /// Takes at most `most` bytes.
    pub(crate) fn of(most: usize) -> Text {
        Text { text: String::new(), most, full: false }
    }

    /// Whether more came than it takes.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// The text, with `…` where it was cut.
    pub(crate) fn into_text(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.most.saturating_sub(self.text.len()));
        self.text.push_str(&text[..fits]);
        if fits < text.len() {
            self.full = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}
