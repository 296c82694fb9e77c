//! The text of an alarm: Jinja templates with bounded cost.
//!
//! * `{{ service }}` is Jinja; the classic `${service}` means the same.
//! * A name that is not there makes the template fail in the strict mode that is tried first; then it is
//!   rendered with nothing in that place. A template that fails even so gives the default text. The alarm
//!   goes out in any case, and the caller is told what was wrong.
//! * Steps, what a template makes on the way, and the lengths of the template and of the message are bounded:
//!   see [`template`]. A template is tried before it is accepted.

use std::collections::BTreeSet;

use minijinja::Value;
use minijinja::value::Serde;

use crate::template::{self, Text, Undefined, Unusable};

/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 4096;
/// Longest message, in bytes; what is longer is cut off. So is a longer value before it is filled in.
const MAX_MESSAGE: usize = 8192;

/// A template that parses, or the default text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Option<String>);

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is longer than is possible.
    #[error("the message template is longer than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// It does not parse.
    #[error("the message template is not valid: {0}")]
    Syntax(String),
    /// It uses a tag that is switched off.
    #[error(
        "the message template uses `{0}`, which is not available; write the expression where it is shown"
    )]
    NotAvailable(&'static str),
    /// It uses something else that there is not.
    #[error("the message template uses what is not available: {0}")]
    Unknown(String),
    /// It takes too much memory or time, whatever its names stand for.
    #[error("the message template costs too much: {0}")]
    Costly(String),
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
    /// Checks a template, and tries it within the bounds that it has when it is rendered.
    ///
    /// # Errors
    /// It is too long, does not parse, uses what is not available, or costs too much.
    pub fn parse(text: &str) -> Result<Message, MessageError> {
        if text.len() > MAX_TEMPLATE {
            return Err(MessageError::TooLong);
        }
        let source = jinja(text);
        let template = template::parse(&source).map_err(|error| MessageError::Syntax(describe(&error)))?;
        template::check(&template).map_err(|unusable| match unusable {
            Unusable::Tag(tag) => MessageError::NotAvailable(tag),
            Unusable::What(what) => MessageError::Unknown(what),
        })?;
        // Values are not known yet: what fails without them may be right with them.
        let mut out = Text::of(MAX_MESSAGE);
        match template::evaluate(&template, &Value::from(()), Undefined::IsEmpty, &mut out) {
            Err((problem, _)) if problem.is_cost() => Err(MessageError::Costly(problem.to_string())),
            _ => {
                drop(template);
                Ok(Message(Some(source)))
            }
        }
    }

    /// The names that the template reads, dotted ones whole.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let template = self.0.as_deref().and_then(|source| template::parse(source).ok());
        template.and_then(|template| template::check(&template).ok()).unwrap_or_default()
    }

    /// Renders with the names in `context`; `default` is the text when there is no template or it fails.
    pub fn render(
        &self,
        context: impl FnOnce() -> serde_json::Map<String, serde_json::Value>,
        default: impl FnOnce() -> String,
    ) -> Rendered {
        let Some(source) = &self.0 else { return Rendered { text: default(), problem: None } };
        let mut context = serde_json::Value::Object(context());
        shorten(&mut context);
        let values = Value::from(Serde(context));
        let problem = match render(source, &values, Undefined::IsAProblem) {
            Ok(text) => return Rendered { text, problem: None },
            Err(problem) => problem,
        };
        let text = render(source, &values, Undefined::IsEmpty).unwrap_or_else(|_| default());
        Rendered { text, problem: Some(problem) }
    }
}

fn render(source: &str, values: &Value, undefined: Undefined) -> Result<String, String> {
    let template = template::parse(source).map_err(|error| describe(&error))?;
    let mut out = Text::of(MAX_MESSAGE);
    template::evaluate(&template, values, undefined, &mut out).map_err(|(problem, line)| match line {
        0 | 1 => problem.to_string(),
        line => format!("{problem} (line {line})"),
    })?;
    drop(template);
    Ok(out.into_text())
}

/// Cuts texts that are longer than a message. Values of events have any length.
fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => text.truncate(text.floor_char_boundary(MAX_MESSAGE)),
        serde_json::Value::Array(items) => items.iter_mut().for_each(shorten),
        serde_json::Value::Object(entries) => entries.values_mut().for_each(shorten),
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(template: &str) -> Rendered {
        let context =
            json!({"service": "pay", "value": 2300, "http": {"route": "/pay"}, "labels": {"a.b": "c"}});
        let context = || context.as_object().unwrap().clone();
        Message::parse(template).unwrap().render(context, || "default".to_owned())
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
    fn what_costs_too_much_is_rejected_or_gives_the_default() {
        let loops = |list: &str| {
            format!("{{% for a in {list} %}}{}", "{% for b in 'aaaaaaaaaaaaaaaa' | list %}".repeat(5))
                + &"{% endfor %}".repeat(6)
        };
        assert!(matches!(Message::parse(&loops("'aaaaaaaaaaaaaaaa'|list")), Err(MessageError::Costly(_))));
        let rendered = render(&loops("labels"));
        assert_eq!(rendered.text, "default");
        assert!(rendered.problem.unwrap().contains("10000 steps"));
    }

    #[test]
    fn what_a_template_can_do() {
        for (template, text) in [
            (
                "{{ value / 1000 }} {{ (value * 1.5) | round(1) }} {{ '%.2f' | format(value / 7) }}",
                "2.3 3450.0 328.57",
            ),
            (
                "{{ value // 1000 }} {{ value % 1000 }} {{ 2 ** 10 }} {{ -value }} {{ value - 1 }}",
                "2 300 1024 -2300 2299",
            ),
            ("{{ service | upper }} {{ service ~ '-' ~ value }} {{ service + '!' }}", "PAY pay-2300 pay!"),
            (
                "{% if value > 2000 and service == 'pay' %}high{% elif value %}low{% else %}no{% endif %}",
                "high",
            ),
            (
                "{{ 'slow' if value >= 2300 else 'quick' }} {{ 'p' in service }} {{ 'x' not in service }}",
                "slow True True",
            ),
            (
                "{% for k, v in labels | dictsort %}{{ loop.index }}/{{ loop.length }} {{ k }}={{ v }}{% endfor %}",
                "1/1 a.b=c",
            ),
            (
                "{% for a in [1, 2, 3] if a != 2 %}{{ a }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}",
                "1, 3",
            ),
            (
                "{{ nonsense | default('?') }} {{ nonsense is defined }} {{ service[:2] }} {{ [1, 2, 3][-2:] }}",
                "? False pa [2, 3]",
            ),
            (
                "{{ service | replace('p', 'b') }} {{ ['a', 'b'] | join('/') }} {{ service | length }}",
                "bay a/b 3",
            ),
            ("{# a comment #}{{- service -}} \n", "pay"),
            ("{{ http['route'] }} {{ {'a': 1}.a }} {{ (1, 2)[0] }} {{ none }}", "/pay 1 1 None"),
        ] {
            assert_eq!(render(template), Rendered { text: text.to_owned(), problem: None }, "{template}");
        }
    }

    #[test]
    fn arithmetic_that_has_no_result_gives_the_default() {
        for template in
            ["{{ value // 0 }}", "{{ 9 ** 999 }}", "{{ service * 2 }}", "{{ service - 1 }}", "{{ 5 % 0.0 }}"]
        {
            let rendered = render(template);
            assert_eq!(rendered.text, "default", "{template}");
            assert!(rendered.problem.is_some(), "{template}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let rendered =
            render(&format!("a{{% for a in labels %}}{}{{% endfor %}}", "{{ service }}支".repeat(250)));
        assert!(rendered.text.len() < 5000, "it is not cut: {}", rendered.text.len());
        let many = "{% for a in '0123456789' | list %}支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支{% endfor %}".repeat(10);
        let rendered = render(&format!("a{many}"));
        assert!(rendered.text.len() <= MAX_MESSAGE + '…'.len_utf8());
        assert!(rendered.text.starts_with("a支支") && rendered.text.ends_with("支…"));
    }

    #[test]
    fn bad_templates_are_rejected_with_the_reason() {
        assert!(matches!(Message::parse("{{ service"), Err(MessageError::Syntax(_))));
        assert!(matches!(Message::parse("{{ service | nonsense }}"), Err(MessageError::Unknown(_))));
        assert!(matches!(Message::parse("{{ nonsense() }}"), Err(MessageError::Unknown(_))));
        assert!(matches!(Message::parse("{{ 'a' * 100 }}"), Err(MessageError::Unknown(_))));
        let error = Message::parse("{{ service | indent(2) }}").unwrap_err().to_string();
        assert!(error.contains("the filter `indent`; there are abs, "), "{error}");
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
        let context = || [("service".to_owned(), json!("{{ 1 + 1 }}"))].into_iter().collect();
        let rendered = Message::parse("${service}").unwrap().render(context, String::new);
        assert_eq!(rendered.text, "{{ 1 + 1 }}");
    }

    proptest! {
        #[test]
        fn arbitrary_templates_never_panic_and_are_short(template in "[${}% a-z.*|'\"()0-9]{0,60}") {
            if let Ok(message) = Message::parse(&template) {
                let rendered =
                    message.render(|| [("a".to_owned(), json!(1))].into_iter().collect(), String::new);
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
