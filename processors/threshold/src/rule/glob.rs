//! Globs: `*` stands for any text, `?` for one character, everything else for itself.

/// A pattern that a whole text must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    /// Every text is a pattern.
    pub(crate) fn new(pattern: impl Into<String>) -> Glob {
        Glob(pattern.into())
    }

    /// The text that it was made of.
    pub(crate) fn pattern(&self) -> &str {
        &self.0
    }

    /// The only text that fits, when there is only one.
    pub(crate) fn exact(&self) -> Option<&str> {
        (!self.0.contains(['*', '?'])).then_some(&self.0)
    }

    /// Whether the whole text fits. Takes time proportional to pattern × text at worst.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let mut pattern = self.0.as_str();
        let mut text = text;
        // Where to go on after the last `*`: the pattern behind it, and the text it has not swallowed yet.
        let mut retry: Option<(&str, &str)> = None;
        loop {
            let mut wanted = pattern.chars();
            match wanted.next() {
                Some('*') => {
                    pattern = wanted.as_str();
                    if pattern.is_empty() {
                        return true;
                    }
                    retry = Some((pattern, text));
                    continue;
                }
                None if text.is_empty() => return true,
                Some(wanted_char) => {
                    let mut found = text.chars();
                    if found.next().is_some_and(|c| wanted_char == '?' || wanted_char == c) {
                        pattern = wanted.as_str();
                        text = found.as_str();
                        continue;
                    }
                }
                None => {}
            }
            let Some((behind, unswallowed)) = retry else { return false };
            let mut longer = unswallowed.chars();
            if longer.next().is_none() {
                return false;
            }
            (pattern, text) = (behind, longer.as_str());
            retry = Some((behind, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_fits_whole_texts() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("pay", "pay", true),
            ("pay", "payment", false),
            ("pay*", "payment", true),
            ("*ment", "payment", true),
            ("p*e*t", "payment", true),
            ("p*x*t", "payment", false),
            ("p?y", "pay", true),
            ("p?y", "py", false),
            ("支?", "支付", true),
            ("*付", "支付", true),
            ("a**b", "ab", true),
            ("*aab", "aaaab", true),
            ("/user/*", "/user/", true),
        ] {
            assert_eq!(Glob::new(pattern).is_match(text), fits, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = Glob::new("*a".repeat(100));
        assert!(!pattern.is_match(&format!("{}b", "a".repeat(1000))));
    }
}
