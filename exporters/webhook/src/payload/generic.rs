//! Weir's own payload, and bodies from a template.

use serde_json::Value;
use weir_alarms::Message;
use weir_component::ExportError;

use super::text::{context, percent_encoded};
use crate::alarm::Alarm;

/// How values go into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Escaped as between the quotes of a JSON text; the body has to be JSON.
    Json,
    /// Percent-encoded, as in a form.
    Form,
    /// As they are.
    Plain,
}

impl Encoding {
    /// By the `content-type`.
    pub(crate) fn of(content_type: &str) -> Encoding {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => Encoding::Form,
            kind if kind.ends_with("json") => Encoding::Json,
            _ => Encoding::Plain,
        }
    }

    fn encode(self, text: &str) -> String {
        match self {
            Encoding::Json => {
                let quoted = Value::from(text).to_string();
                quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
            }
            Encoding::Form => percent_encoded(text),
            Encoding::Plain => text.to_owned(),
        }
    }
}

/// `{"alarms":[…]}`, each alarm as in Weir's JSON lines, in order.
pub(crate) fn body(alarms: &[Alarm]) -> Vec<u8> {
    let lines: Vec<&str> = alarms.iter().map(Alarm::line).collect();
    format!("{{\"alarms\":[{}]}}", lines.join(",")).into_bytes()
}

/// The body that a template gives.
///
/// # Errors
/// The template fails with these alarms, its text is longer than a message may be, or it is no JSON and has
/// to be.
pub(crate) fn templated(
    template: &Message,
    encoding: Encoding,
    alarms: &[Alarm],
) -> Result<Vec<u8>, ExportError> {
    let text = render(template, encoding, alarms)?;
    if encoding == Encoding::Json
        && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
    {
        return Err(ExportError::permanent(format!(
            "`template.body` does not give JSON with these alarms: {error}"
        )));
    }
    Ok(text.into_bytes())
}

/// The text that a template gives.
pub(crate) fn render(
    template: &Message,
    encoding: Encoding,
    alarms: &[Alarm],
) -> Result<String, ExportError> {
    let encode = |text: &str| encoding.encode(text);
    let names = || {
        let mut names = alarms.first().map(|alarm| context(alarm, &encode)).unwrap_or_default();
        let firing = alarms.iter().filter(|alarm| alarm.is_firing()).count();
        let all: Vec<Value> = alarms.iter().map(|alarm| context(alarm, &encode).into()).collect();
        names.insert("alarms".to_owned(), all.into());
        names.insert("firing".to_owned(), firing.into());
        names.insert("resolved".to_owned(), (alarms.len() - firing).into());
        names
    };
    let rendered = template.render(names, String::new);
    match rendered.problem {
        Some(problem) if rendered.text.is_empty() => {
            Err(ExportError::permanent(format!("the template fails with these alarms: {problem}")))
        }
        _ if rendered.cut => Err(ExportError::too_large("the template gives more than 8 KiB")),
        _ => Ok(rendered.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_how_values_are_encoded() {
        for (content_type, encoding) in [
            ("application/json; charset=utf-8", Encoding::Json),
            ("application/vnd.x+json", Encoding::Json),
            ("application/x-www-form-urlencoded", Encoding::Form),
            ("text/plain", Encoding::Plain),
        ] {
            assert_eq!(Encoding::of(content_type), encoding, "{content_type}");
        }
    }

    #[test]
    fn values_do_not_leave_their_place() {
        assert_eq!(Encoding::Json.encode("a \"b\"\n\\"), "a \\\"b\\\"\\n\\\\");
        assert_eq!(Encoding::Form.encode("a&to=b"), "a%26to%3Db");
        assert_eq!(Encoding::Plain.encode("a\"b"), "a\"b");
    }
}
