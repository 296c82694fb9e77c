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
    /// The text was longer than a message may be.
    pub cut: bool,
    /// The fault in the template, if there was one.
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

    /// Whether there is a template.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0.is_some()
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
        let Some(source) = &self.0 else { return Rendered { text: default(), cut: false, problem: None } };
        let mut context = serde_json::Value::Object(context());
        shorten(&mut context);
        let values = Value::from(Serde(context));
        let problem = match render(source, &values, Undefined::IsAProblem) {
            Ok((text, cut)) => return Rendered { text, cut, problem: None },
            Err(problem) => problem,
        };
        let (text, cut) = render(source, &values, Undefined::IsEmpty).unwrap_or_else(|_| (default(), false));
        Rendered { text, cut, problem: Some(problem) }
    }
}

/// The text, and whether it was cut off.
fn render(source: &str, values: &Value, undefined: Undefined) -> Result<(String, bool), String> {
    let template = template::parse(source).map_err(|error| describe(&error))?;
    let mut out = Text::of(MAX_MESSAGE);
    template::evaluate(&template, values, undefined, &mut out).map_err(|(problem, line)| match line {
        0 | 1 => problem.to_string(),
        line => format!("{problem} (line {line})"),
    })?;
    drop(template);
    let cut = out.is_full();
    Ok((out.into_text(), cut))
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
mod tests;
