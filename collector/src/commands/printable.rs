//! Text from elsewhere, for a terminal.

/// Stored text must not move the cursor or colour the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => printable.push_str("\\n"),
            '\t' => printable.push_str("\\t"),
            // Those turn the direction of what follows.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => printable.push(char::REPLACEMENT_CHARACTER),
            control if control.is_control() => printable.push(char::REPLACEMENT_CHARACTER),
            other => printable.push(other),
        }
    }
    printable
}
