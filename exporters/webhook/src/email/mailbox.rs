//! Addresses and headers of e-mails: texts of any kind, in ASCII and without line breaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a text in one encoded word: lines with such words have at most 76 characters.
const WORD: usize = 36;

/// Characters of a line with encoded words, at most (RFC 2047).
const LINE: usize = 76;

/// A person or a list: `Name <user@host>` or `user@host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    name: String,
    address: String,
}

impl Mailbox {
    /// Reads one; `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Mailbox> {
        let (name, address) = match text.trim().strip_suffix('>') {
            Some(text) => text.rsplit_once('<')?,
            None => ("", text.trim()),
        };
        let (user, host) = address.rsplit_once('@')?;
        let is_plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>@,;\"\\".contains(&byte))
        };
        (is_plain(user) && is_plain(host) && !name.contains(char::is_control))
            .then(|| Mailbox { name: name.trim().trim_matches('"').to_owned(), address: address.to_owned() })
    }

    /// `user@host`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Behind the `@`.
    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, host)| host)
    }

    /// As it stands in `From` and `To`.
    pub(crate) fn header(&self) -> String {
        if self.name.is_empty() {
            return self.address.clone();
        }
        let is_plain = self.name.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
        if is_plain {
            return format!("{} <{}>", self.name, self.address);
        }
        let name = encoded_words(&self.name);
        let last = name.rsplit_once('\n').map_or(name.len() + "From: ".len(), |(_, last)| last.len());
        let gap = if last + self.address.len() + 3 > LINE { "\r\n " } else { " " };
        format!("{name}{gap}<{}>", self.address)
    }
}

/// A text in a header: as it is when that is possible, else in encoded words (RFC 2047).
pub(crate) fn header_text(text: &str) -> String {
    let is_plain = text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && !text.contains("=?");
    if is_plain && text.len() <= 200 { text.to_owned() } else { encoded_words(text) }
}

fn encoded_words(text: &str) -> String {
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.floor_char_boundary(WORD));
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = behind;
    }
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_name() {
        let duty = Mailbox::parse("Duty team <duty@example.com>").unwrap();
        assert_eq!(
            (duty.address(), duty.header().as_str()),
            ("duty@example.com", "Duty team <duty@example.com>")
        );
        assert_eq!(Mailbox::parse(" a@b ").unwrap().header(), "a@b");
        // `=?utf-8?B?...?=` of Python's `email.header.Header('值班', 'utf-8')`.
        let header = Mailbox::parse("值班 <a@b>").unwrap().header();
        assert_eq!(header, "=?utf-8?B?5YC854+t?= <a@b>");
        for wrong in ["", "duty", "@b", "a@", "a b@c", "a@b\r\nRCPT TO:<x@y>", "x <a@b", "a@b, c@d"] {
            assert_eq!(Mailbox::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_text_cannot_begin_another_header() {
        assert_eq!(header_text("[high] slow: pay"), "[high] slow: pay");
        let hostile = header_text("a\r\nBcc: x@y");
        assert!(!hostile.contains("Bcc") && hostile.starts_with("=?utf-8?B?"), "{hostile}");
    }

    /// RFC 2047: lines with encoded words have 76 characters at most.
    #[test]
    fn lines_with_encoded_words_are_short() {
        let mailbox =
            Mailbox::parse(&format!("{} <duty.team@alarms.example.com>", "值班".repeat(20))).unwrap();
        for header in
            [format!("Subject: {}", header_text(&"超时".repeat(100))), format!("From: {}", mailbox.header())]
        {
            for line in header.split("\r\n") {
                assert!(line.len() <= 76, "{line}");
            }
        }
    }
}
