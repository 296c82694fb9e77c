//! The text of an alarm: a minijinja template, `{{ name }}` or `${name}`, with bounded cost.
//!
//! A name that is not there leaves a gap; a template that fails gives the default text. The alarm goes out in any
//! case, and the caller is told what was wrong. Length and steps are bounded; tags that build values up are rejected.

use std::collections::BTreeSet;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 4096;
/// Longest message, in bytes; what is longer is cut off.
const MAX_MESSAGE: usize = 8192;
/// Most steps of one rendering.
const FUEL: u64 = 10_000;

/// A template that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message(String);

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the message template is longer than {MAX_TEMPLATE} bytes")]
    TooLong,
    #[error("the message template is not valid: {0}")]
    Syntax(String),
    #[error(
        "the message template uses `{0}`, which is not available; write the expression where it is shown"
    )]
    NotAvailable(&'static str),
}

impl Message {
    /// Checks a template.
    pub(crate) fn parse(text: &str) -> Result<Message, MessageError> {
        if text.len() > MAX_TEMPLATE {
            return Err(MessageError::TooLong);
        }
        let source = jinja(text);
        if let Some(tag) = ["set", "with"].into_iter().find(|tag| has_tag(&source, tag)) {
            return Err(MessageError::NotAvailable(tag));
        }
        let message = Message(source);
        match message.render_as(&Value::from(()), UndefinedBehavior::Chainable) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::SyntaxError
                        | ErrorKind::UnknownFilter
                        | ErrorKind::UnknownTest
                        | ErrorKind::UnknownFunction
                ) =>
            {
                Err(MessageError::Syntax(describe(&error)))
            }
            // Other errors may depend on values, which are not known yet.
            _ => Ok(message),
        }
    }

    /// The names that the template reads, dotted ones whole.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let environment = environment(UndefinedBehavior::Chainable);
        let template = environment.template_from_str(&self.0);
        template.map(|template| template.undeclared_variables(true).into_iter().collect()).unwrap_or_default()
    }

    /// The text with these facts, `None` when the template fails; and what was wrong, if anything was.
    pub(crate) fn render(&self, facts: &serde_json::Value) -> (Option<String>, Option<String>) {
        let values = Value::from(Serde(facts));
        match self.render_as(&values, UndefinedBehavior::Strict) {
            Ok(text) => (Some(text), None),
            Err(error) => {
                let lenient = self.render_as(&values, UndefinedBehavior::Chainable).ok();
                (lenient, Some(describe(&error)))
            }
        }
    }

    fn render_as(&self, values: &Value, undefined: UndefinedBehavior) -> Result<String, minijinja::Error> {
        let environment = environment(undefined);
        let mut out = Bounded::default();
        let template = environment.template_from_str(&self.0)?;
        match template.render_captured_to(values.clone(), &mut out).map(drop) {
            Err(error) if !out.full => Err(error),
            _ => Ok(out.into_text()),
        }
    }
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment
}

fn describe(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Turns `${name}` into `{{ name }}`; other text between `${` and `}` stays.
fn jinja(text: &str) -> String {
    let is_name = |name: &str| {
        name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let mut parts = text.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}').filter(|(name, _)| is_name(name.trim())) {
            Some((name, rest)) => {
                out.push_str(&format!("{{{{ {} }}}}", name.trim()));
                out.push_str(rest);
            }
            None => {
                out.push_str("${");
                out.push_str(part);
            }
        }
    }
    out
}

fn has_tag(source: &str, tag: &str) -> bool {
    source.split("{%").skip(1).any(|inside| {
        let inside = inside.trim_start_matches(['-', '+']).trim_start();
        inside
            .strip_prefix(tag)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// Takes the first [`MAX_MESSAGE`] bytes.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Bounded {
    fn into_text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.full {
            // The cut may have gone through a character.
            while text.ends_with(char::REPLACEMENT_CHARACTER) {
                text.pop();
            }
            text.push('…');
        }
        text
    }
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = MAX_MESSAGE.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(room));
        if bytes.len() > room {
            self.full = true;
            return Err(std::io::Error::other("the message is full"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(text: &str) -> (Option<String>, Option<String>) {
        Message::parse(text).unwrap().render(&json!({"service": "pay", "hit": {"value": 3}}))
    }

    #[test]
    fn both_kinds_of_placeholder_are_filled() {
        assert_eq!(render("{{ service }} ${hit.value} ${ service } ${1} $5").0.unwrap(), "pay 3 pay ${1} $5");
    }

    #[test]
    fn a_missing_name_leaves_a_gap_and_a_failure_is_told() {
        let (text, problem) = render("[{{ nobody }}]");
        assert_eq!(text.unwrap(), "[]");
        assert!(problem.unwrap().contains("undefined"));
        let (text, problem) = render("{{ 1 / 0 }}");
        assert!(text.is_none() && problem.is_some());
    }

    #[test]
    fn bad_templates_and_endless_ones_are_stopped() {
        assert!(matches!(Message::parse("{{ service"), Err(MessageError::Syntax(_))));
        assert!(matches!(Message::parse("{{ a | nonsense }}"), Err(MessageError::Syntax(_))));
        assert_eq!(Message::parse("{%- set a = 1 %}"), Err(MessageError::NotAvailable("set")));
        assert_eq!(Message::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(MessageError::TooLong));
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(render(endless).1.unwrap().contains("fuel"));
        assert!(render("{{ '支' * 100000 }}").0.unwrap().len() <= MAX_MESSAGE + '…'.len_utf8());
    }

    #[test]
    fn names_are_those_that_the_template_reads() {
        let message = Message::parse("${service} {{ hit.value | round }} {% if x > 1 %}{% endif %}").unwrap();
        assert_eq!(message.names().into_iter().collect::<Vec<_>>(), ["hit.value", "service", "x"]);
    }
}
