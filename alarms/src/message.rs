//! The text of an alarm: minijinja templates with bounded cost.
//!
//! * `{{ service }}` is Jinja; the classic `${service}` means the same.
//! * A name that is not there makes the template fail in the strict mode that is tried first; then it is
//!   rendered with nothing in that place. A template that fails even so gives the default text. The alarm goes
//!   out in any case, and the caller is told what was wrong.
//! * Steps, length of the template and of the result are bounded. Tags that build values up (`set`, `with`) are
//!   rejected, so memory is bounded too.

use std::collections::BTreeSet;
use std::io::Write;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 4096;
/// Longest message, in bytes; what is longer is cut off.
const MAX_MESSAGE: usize = 8192;
/// Most steps of one rendering.
const FUEL: u64 = 10_000;

/// A template that parses, or the default text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Option<String>);

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is longer than is possible.
    #[error("the message template is longer than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// It does not parse, or uses what does not exist.
    #[error("the message template is not valid: {0}")]
    Syntax(String),
    /// It uses a tag that is switched off.
    #[error(
        "the message template uses `{0}`, which is not available; write the expression where it is shown"
    )]
    NotAvailable(&'static str),
}

/// A rendered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// In any case there is one.
    pub text: String,
    /// What was wrong with the template, if anything was.
    pub problem: Option<String>,
}

impl Message {
    /// Checks a template.
    ///
    /// # Errors
    /// It is too long, does not parse, or uses what is not available.
    pub fn parse(text: &str) -> Result<Message, MessageError> {
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

    /// The names that the template reads, dotted ones whole.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let environment = environment(UndefinedBehavior::Chainable);
        let template = self.0.as_deref().and_then(|source| environment.template_from_str(source).ok());
        template.map(|template| template.undeclared_variables(true).into_iter().collect()).unwrap_or_default()
    }

    /// Renders with the names in `facts`; `default` is the text when there is no template or it fails.
    pub fn render(
        &self,
        facts: impl FnOnce() -> serde_json::Map<String, serde_json::Value>,
        default: impl FnOnce() -> String,
    ) -> Rendered {
        let Some(source) = &self.0 else { return Rendered { text: default(), problem: None } };
        let values = Value::from(Serde(facts()));
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

fn is_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
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
    use proptest::prelude::*;
    use serde_json::json;

    fn render(template: &str) -> Rendered {
        let facts =
            json!({"service": "pay", "value": 2300, "http": {"route": "/pay"}, "labels": {"a.b": "c"}});
        let facts = || facts.as_object().unwrap().clone();
        Message::parse(template).unwrap().render(facts, || "default".to_owned())
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
        assert_eq!(render("${a ${service} b}").text, "${a pay b}");
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
        let none = Message::default().render(|| panic!("nothing to fill in"), || "default".to_owned());
        assert_eq!(none, Rendered { text: "default".to_owned(), problem: None });
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
        assert!(matches!(Message::parse(r#"{{ "\ud800" }}"#), Err(MessageError::Syntax(_))));
        assert_eq!(Message::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(MessageError::TooLong));
        assert_eq!(Message::parse("{%- set a = 1 %}"), Err(MessageError::NotAvailable("set")));
        assert!(Message::parse("{% if value > 10 %}high{% endif %}").is_ok());
    }

    #[test]
    fn a_problem_names_its_line_when_there_are_several() {
        let error = Message::parse("{{ service }}\n{{ value").unwrap_err().to_string();
        assert!(error.ends_with("(line 2)"), "{error}");
        assert!(!Message::parse("{{ value").unwrap_err().to_string().contains("line"));
    }

    #[test]
    fn values_are_not_templates() {
        let facts = || [("service".to_owned(), json!("{{ 1 + 1 }}"))].into_iter().collect();
        let rendered = Message::parse("${service}").unwrap().render(facts, String::new);
        assert_eq!(rendered.text, "{{ 1 + 1 }}");
    }

    proptest! {
        #[test]
        fn arbitrary_templates_never_panic_and_are_short(template in "[${}% a-z.*|'\"()0-9]{0,60}") {
            if let Ok(message) = Message::parse(&template) {
                let rendered = message.render(|| [("a".to_owned(), json!(1))].into_iter().collect(), String::new);
                prop_assert!(rendered.text.len() <= MAX_MESSAGE + '…'.len_utf8());
            }
        }
    }

    #[test]
    fn names_are_those_that_the_template_reads() {
        let message = Message::parse("${service} {{ hit.value | round }} {% if x > 1 %}{% endif %}").unwrap();
        assert_eq!(message.names().into_iter().collect::<Vec<_>>(), ["hit.value", "service", "x"]);
        assert!(Message::default().names().is_empty());
    }
}
