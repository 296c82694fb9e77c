//! The notation of series in rule tests, which is that of `promtool test rules`: `count{service="pay"}`, and
//! `1+2x3 _ 5` for 1 3 5 7, a missing value, and 5.

/// More values of one series are a slip.
const MOST: usize = 100_000;

/// A name, and labels with their texts in the order of their names.
pub(super) type Series = (String, Vec<(String, String)>);

/// Reads `name{label="text", …}`.
pub(super) fn series(text: &str) -> Result<Series, String> {
    let wrong = || format!("`{text}` is no series; write for example `count{{service=\"pay\"}}`");
    let (name, labels) = match text.trim().split_once('{') {
        None => (text.trim(), ""),
        Some((name, rest)) => (name.trim(), rest.trim_end().strip_suffix('}').ok_or_else(wrong)?),
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "\"'={},".contains(c)) {
        return Err(wrong());
    }
    let (mut found, mut rest) = (Vec::new(), labels.trim());
    while !rest.is_empty() {
        let (label, after) = rest.split_once('=').ok_or_else(wrong)?;
        let (value, after) = quoted(after.trim_start()).ok_or_else(wrong)?;
        let label = label.trim();
        if label.is_empty() || found.iter().any(|(known, _)| known == label) {
            return Err(wrong());
        }
        found.push((label.to_owned(), value));
        rest = after.trim_start();
        if let Some(more) = rest.strip_prefix(',') {
            rest = more.trim_start();
        } else if !rest.is_empty() {
            return Err(wrong());
        }
    }
    found.sort();
    Ok((name.to_owned(), found))
}

/// The text between quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('"')?;
    let (mut out, mut chars) = (String::new(), rest.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, rest.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

/// Reads values: `3`, `_` for none, `3x2` for 3 3 3, `1+2x3` for 1 3 5 7, `_x3` for three times none.
pub(super) fn values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let wrong = || format!("`{word}` is no value; write `3`, `_`, `3x2`, `1+2x3` or `_x3`");
        if let Some(times) = word.strip_prefix("_") {
            let times = times.strip_prefix('x').map_or(if times.is_empty() { Some(1) } else { None }, count);
            values.extend(std::iter::repeat_n(None, times.ok_or_else(wrong)?));
        } else {
            let (first, rest) = number(word).ok_or_else(wrong)?;
            let (step, rest) = match rest.starts_with(['+', '-']) {
                true => number(rest).ok_or_else(wrong)?,
                false => (0.0, rest),
            };
            let times = match rest.strip_prefix('x') {
                Some(times) => count(times).ok_or_else(wrong)?,
                // A step without a number of times means nothing.
                None if rest.is_empty() && word.len() == length_of_number(word) => 0,
                None => return Err(wrong()),
            };
            values.extend((0..=times).map(|time| Some(first + step * time as f64)));
        }
        if values.len() > MOST {
            return Err(format!("there are more than {MOST} values"));
        }
    }
    if values.is_empty() { Err("there are no values".to_owned()) } else { Ok(values) }
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|times| *times <= MOST)
}

/// The number at the beginning, and the rest.
fn number(text: &str) -> Option<(f64, &str)> {
    let (number, rest) = text.split_at(length_of_number(text));
    Some((number.parse::<f64>().ok().filter(|value| value.is_finite())?, rest))
}

fn length_of_number(text: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = |text: &str| usize::from(text.starts_with(['+', '-']));
    let mut at = sign(text);
    at += digits(&text[at..]);
    if text[at..].starts_with('.') {
        at += 1 + digits(&text[at + 1..]);
    }
    if text[at..].starts_with(['e', 'E']) {
        let after = at + 1 + sign(&text[at + 1..]);
        if digits(&text[after..]) > 0 {
            at = after + digits(&text[after..]);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_a_name_and_labels() {
        for (text, name, expected) in [
            ("count", "count", vec![]),
            ("count{}", "count", vec![]),
            ("a.b{x=\"1\"}", "a.b", vec![("x", "1")]),
            (" c { z = \"/pay, }\" , a=\"q\\\"\\\\\\n\", }", "c", vec![("a", "q\"\\\n"), ("z", "/pay, }")]),
        ] {
            let (found, labels) = series(text).unwrap();
            let labels: Vec<_> = labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            assert_eq!((found.as_str(), labels), (name, expected), "{text}");
        }
        for text in [
            "",
            "{a=\"b\"}",
            "a{b}",
            "a{b=c}",
            "a{b=\"c\"",
            "a{b=\"c\" d=\"e\"}",
            "a b",
            "a{b=\"1\",b=\"2\"}",
        ] {
            assert!(series(text).is_err(), "{text}");
        }
    }

    /// The examples of promtool's documentation, and a few more.
    #[test]
    fn values_are_those_of_promtool() {
        for (text, expected) in [
            ("-2+4x3", vec![Some(-2.0), Some(2.0), Some(6.0), Some(10.0)]),
            ("1-2x4", vec![Some(1.0), Some(-1.0), Some(-3.0), Some(-5.0), Some(-7.0)]),
            ("1x4", vec![Some(1.0); 5]),
            ("1 _x3", vec![Some(1.0), None, None, None]),
            ("1e-1+2.5e+1x1 _", vec![Some(0.1), Some(25.1), None]),
            ("2e9", vec![Some(2e9)]),
            ("3x0", vec![Some(3.0)]),
        ] {
            assert_eq!(values(text).unwrap(), expected, "{text}");
        }
        for text in
            ["", "x3", "1x", "1+2", "_3", "1x-2", "1 a", "1x999999999", "1e999", "1+x2", "--1", "1 2,3"]
        {
            assert!(values(text).is_err(), "{text}");
        }
    }
}
