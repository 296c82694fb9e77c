//! The text of an alarm: minijinja templates with bounded cost.
//!
//! * `{{ service }}` is Jinja; the classic `${service}` means the same.
//! * A name that is not there makes the template fail in the strict mode that is tried first; then it is
//!   rendered with nothing in that place. A template that fails even so gives the default text. The alarm goes
//!   out in any case, and the caller is told what was wrong.
//! * Steps, length of the template and of the result are bounded. Tags that build values up (`set`, `with`) are
//!   rejected, so memory is bounded too.

use std::io::Write;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

/// Longest template, in bytes.
pub(crate) const MAX_TEMPLATE: usize = 4096;
/// Longest message, in bytes; what is longer is cut off.
pub(crate) const MAX_MESSAGE: usize = 8192;
/// Most steps of one rendering.
const FUEL: u64 = 10_000;

/// A template that parses, or the default text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Option<String>);

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

/// A rendered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// What was wrong with the template, if anything was.
    pub(crate) problem: Option<String>,
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
        let environment = environment(UndefinedBehavior::Chainable);
        let syntax = |error: minijinja::Error| MessageError::Syntax(describe(&error));
        let template = environment.template_from_str(&source).map_err(syntax)?;
        // Names of filters and functions are looked up when they are used, so use them; values are not known yet.
        match template.render_captured_to(Value::from(()), &mut Bounded::default()) {
            Err(error) if is_unknown(&error) => return Err(syntax(error)),
            _ => {}
        }
        Ok(Message(Some(source)))
    }

    /// Renders with these names; `default` is the text when there is no template or it fails.
    pub(crate) fn render(&self, facts: &serde_json::Value, default: impl Fn() -> String) -> Rendered {
        let Some(source) = &self.0 else { return Rendered { text: default(), problem: None } };
        let values = Value::from(Serde(facts));
        let problem = match render(source, &values, UndefinedBehavior::Strict) {
            Ok(text) => return Rendered { text, problem: None },
            Err(problem) => problem,
        };
        let text = render(source, &values, UndefinedBehavior::Chainable).unwrap_or_else(|_| default());
        Rendered { text, problem: Some(problem) }
    }
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment
}

fn render(source: &str, values: &Value, undefined: UndefinedBehavior) -> Result<String, String> {
    let environment = environment(undefined);
    let template = environment.template_from_str(source).map_err(|error| describe(&error))?;
    let mut out = Bounded::default();
    let result = template.render_captured_to(values.clone(), &mut out).map(drop);
    match result {
        Err(error) if !out.full => Err(describe(&error)),
        _ => Ok(out.into_text()),
    }
}

fn is_unknown(error: &minijinja::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction)
}

/// The error in one line, without the template's made-up name.
fn describe(error: &minijinja::Error) -> String {
    let line = error.line().filter(|line| *line > 1).map_or(String::new(), |line| format!(" (line {line})"));
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

/// Turns `${name}` into `{{ name }}`. Other text between `${` and `}` stays as it is.
fn jinja(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let name = from.find('}').map(|end| (from[2..end].trim(), end)).filter(|(name, _)| is_name(name));
        match name {
            Some((name, end)) => {
                out.push_str("{{ ");
                out.push_str(name);
                out.push_str(" }}");
                rest = &from[end + 1..];
            }
            None => {
                out.push_str("${");
                rest = &from[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn has_tag(source: &str, tag: &str) -> bool {
    source.match_indices("{%").any(|(at, _)| {
        let inside = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
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

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = MAX_MESSAGE.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
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

    fn render(template: &str) -> Rendered {
        let facts =
            json!({"service": "pay", "value": 2300, "http": {"route": "/pay"}, "labels": {"a.b": "c"}});
        Message::parse(template).unwrap().render(&facts, || "default".to_owned())
    }

    #[test]
    fn both_kinds_of_placeholder_are_filled() {
        assert_eq!(render("{{ service }} is slow: {{ value }}").text, "pay is slow: 2300");
        assert_eq!(render("${service} is slow: ${ value } ${http.route}").text, "pay is slow: 2300 /pay");
        assert_eq!(render("{{ labels['a.b'] }}").text, "c");
    }

    #[test]
    fn what_is_no_placeholder_stays() {
        assert_eq!(render("costs $5 ${1} ${} ${a-b} ${open").text, "costs $5 ${1} ${} ${a-b} ${open");
        assert_eq!(render("支付 ${service}").text, "支付 pay");
    }

    #[test]
    fn an_unknown_name_gives_the_rest_and_is_told() {
        let rendered = render("${service}: ${nonsense}!");
        assert_eq!(rendered.text, "pay: !");
        assert!(rendered.problem.unwrap().contains("undefined"));
        assert_eq!(render("{{ a.b.c }}!").text, "!");
    }

    #[test]
    fn a_template_that_fails_gives_the_default() {
        let rendered = render("{{ 1 / 0 }}");
        assert_eq!(rendered.text, "default");
        assert!(rendered.problem.is_some());
    }

    #[test]
    fn an_endless_template_stops() {
        let rendered = render("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
        assert_eq!(rendered.text, "default");
        assert!(rendered.problem.unwrap().contains("fuel"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let rendered = render("a{{ '支' * 100000 }}");
        assert!(rendered.text.len() <= MAX_MESSAGE + '…'.len_utf8());
        assert!(rendered.text.starts_with("a支支") && rendered.text.ends_with("支…"));
    }

    #[test]
    fn bad_templates_are_rejected_with_the_reason() {
        assert!(matches!(Message::parse("{{ service"), Err(MessageError::Syntax(_))));
        assert!(matches!(Message::parse("{{ service | nonsense }}"), Err(MessageError::Syntax(_))));
        assert!(matches!(Message::parse("{{ nonsense() }}"), Err(MessageError::Syntax(_))));
        assert_eq!(Message::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(MessageError::TooLong));
        assert_eq!(Message::parse("{%- set a = 1 %}"), Err(MessageError::NotAvailable("set")));
        assert!(Message::parse("{% if value > 10 %}high{% endif %}").is_ok());
    }

    #[test]
    fn values_are_not_templates() {
        let facts = json!({"service": "{{ 1 + 1 }}"});
        let rendered = Message::parse("${service}").unwrap().render(&facts, String::new);
        assert_eq!(rendered.text, "{{ 1 + 1 }}");
    }
}
