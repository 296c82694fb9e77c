//! Which processes, containers and paths are looked at.

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) processes: Patterns,
    pub(crate) containers: Patterns,
    pub(crate) paths: Patterns,
}

/// Texts in which `*` stands for any number of characters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Patterns {
    pub(crate) fn new(include: Vec<String>, exclude: Vec<String>) -> Patterns {
        Patterns { include, exclude }
    }

    /// Whether a text is included, or nothing is, and it is not excluded.
    pub(crate) fn takes(&self, text: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, text));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pattern.rfind('*').map(|at| &pattern[at + 1..]) else { return rest.is_empty() };
    let middle: Vec<&str> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("python*", "python3.11", true),
            ("*", "", true),
            ("/health*", "/healthz", true),
            ("/a/*/c*e", "/a/b/cde", true),
            ("/a/*/c", "/a/c", false),
            ("*ab", "ab", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_excluded_is_not_taken() {
        let patterns = Patterns::new(vec!["py*".into()], vec!["*3".into()]);
        assert_eq!(["python", "python3", "java"].map(|text| patterns.takes(text)), [true, false, false]);
        assert!(Patterns::default().takes("anything"));
    }
}
