//! Rule files of Prometheus whose expressions compare columns of windows:
//! `max_duration_ns{service=~"pay.*"} > 2e9 and count{service=~"pay.*"} >= 10`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use weir_config::{Diagnostic, Diagnostics, Document, Duration, Node};

use super::expression::tokens;
use super::imported::{Imported, first, one, readable};
use super::writing::{self, Written, quoted, quoted_map};

/// The keys of an alerting rule.
#[derive(Deserialize)]
struct RuleKeys {
    alert: Option<String>,
    expr: Option<String>,
    #[serde(rename = "for")]
    fire_after: Option<Duration>,
    keep_firing_for: Option<Duration>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

const KEYS: [&str; 6] = ["alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// For so long Prometheus takes a series that has no new value as the last one.
const STALE_MS: u64 = 300_000;

/// Reads a file of rules.
pub(super) fn import(name: &str, document: &Document) -> Result<Imported, Diagnostics> {
    let groups = document.root().get("groups").and_then(Node::items).ok_or_else(|| {
        one(Diagnostic::error("`groups` is no list").with_help("give a file of rules of Prometheus"))
    })?;
    let (mut remarks, mut written, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (place, group) in groups.iter().enumerate() {
        for entry in group.entries().unwrap_or_default() {
            let (key, line) = (entry.key.text.as_str(), entry.key.span.line as usize);
            match key {
                "name" | "rules" => {}
                "interval" => {
                    remarks.push((line, "`interval` is not taken: windows have their own length".to_owned()));
                }
                other => remarks.push((line, format!("`{other}` is not taken"))),
            }
        }
        let rules = group.get("rules").and_then(Node::items).unwrap_or_default();
        for (number, rule) in rules.iter().enumerate() {
            let line =
                rule.entries().and_then(<[_]>::first).map_or(rule.span.line, |entry| entry.key.span.line);
            let line = line as usize;
            let keys: RuleKeys = match document.read(rule, &format!("groups[{place}].rules[{number}]")) {
                Ok(keys) => keys,
                Err(wrong) => {
                    let shown =
                        rule.get("alert").or(rule.get("record")).and_then(Node::as_str).unwrap_or("a rule");
                    remarks.push((line, format!("{shown}: not taken: {}", first(&wrong))));
                    continue;
                }
            };
            let shown = keys.alert.clone().unwrap_or_else(|| "a recording rule".to_owned());
            let mut said = Vec::new();
            for key in rule.entries().unwrap_or_default() {
                if keys.alert.is_some() && !KEYS.contains(&key.key.text.as_str()) {
                    said.push((key.key.span.line as usize, format!("`{}` is not taken", key.key.text)));
                }
            }
            match take(&keys, &mut names, &mut |why| said.push((line, why.to_owned()))).and_then(readable) {
                Ok(text) => written.push(text),
                Err(why) => said.push((line, format!("not taken: {why}"))),
            }
            remarks.extend(said.into_iter().map(|(line, why)| (line, format!("{shown}: {why}"))));
        }
    }
    let rules = written.len();
    Ok(Imported { yaml: writing::file(name, &BTreeSet::new(), &written), rules, remarks })
}

fn take(
    keys: &RuleKeys,
    names: &mut BTreeSet<String>,
    remark: &mut dyn FnMut(&str),
) -> Result<String, String> {
    let alert = keys.alert.as_deref().ok_or("windows are made by `aggregate`")?;
    let condition = condition(keys.expr.as_deref().ok_or("it has no `expr`")?)?;
    let has_or = condition.contains(" OR ");
    let mut name = alert.to_owned();
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{alert}-{number}");
        number += 1;
    }
    if name != alert {
        remark(&format!("the name became `{name}`: names must differ"));
    }
    let severity = match keys.labels.get("severity").map(|text| text.to_ascii_lowercase()).as_deref() {
        Some("critical" | "page" | "high" | "error") => "high",
        Some("info" | "low" | "none") => "low",
        None | Some("warning" | "mid") => "mid",
        Some(other) => {
            remark(&format!("the severity `{other}` became `mid`"));
            "mid"
        }
    };
    let mut labels = BTreeMap::new();
    for (label, text) in keys.labels.iter().filter(|(label, _)| *label != "severity") {
        if text.contains("{{") {
            remark(&format!("the label `{label}` is not taken: it is a template"));
        } else {
            labels.insert(label.clone(), text.clone());
        }
    }
    let (mut annotations, mut message, mut runbook) = (BTreeMap::new(), None, None);
    for (annotation, text) in &keys.annotations {
        match template(text) {
            Err(why) => remark(&format!("the annotation `{annotation}` is not taken: {why}")),
            Ok(text) if annotation == "summary" => message = Some(text),
            Ok(_) if annotation == "runbook_url" && text.contains("{{") => {
                remark("the annotation `runbook_url` is not taken: it is a template");
            }
            Ok(_) if annotation == "runbook_url" => runbook = Some(text.clone()),
            Ok(text) => drop(annotations.insert(annotation.clone(), text)),
        }
    }
    let has_value = keys.annotations.values().any(|text| text.contains("$value") || text.contains(".Value"));
    if has_value && has_or {
        remark("`$value` is that of the first column, whichever part of `or` holds");
    }
    let kept = keys.keep_firing_for.map_or(0, |time| time.as_millis().max(0).unsigned_abs());
    let for_time = |time: Option<Duration>| time.filter(|time| !time.is_zero()).map(|time| time.to_string());
    let more = [
        // Without `for` an alert fires at once, as with one window.
        ("for", for_time(keys.fire_after)),
        ("keep_firing_for", for_time(keys.keep_firing_for)),
        ("resolve_without_data", Some(Duration::from_millis(STALE_MS.saturating_add(kept)).to_string())),
        ("message", message.as_deref().map(quoted)),
        ("labels", Some(quoted_map(&labels)).filter(|_| !labels.is_empty())),
        ("annotations", Some(quoted_map(&annotations)).filter(|_| !annotations.is_empty())),
        ("runbook", runbook.as_deref().map(quoted)),
    ];
    let more = more.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
    Ok(Written { name: &name, operator: None, severity, condition, more }.text())
}

/// The expression in SQL.
fn condition(text: &str) -> Result<String, String> {
    let tokens = tokens(text)?;
    let (mut at, mut matched, mut parts) = (0, None, String::new());
    loop {
        let (comparison, labels, behind) = comparison(tokens.get(at..).unwrap_or_default())?;
        if matched.as_ref().is_some_and(|matched| *matched != labels) {
            return Err("its parts are about different series".to_owned());
        }
        matched = Some(labels);
        parts.push_str(&comparison);
        at += behind;
        match tokens.get(at).map(|token| token.to_ascii_lowercase()).as_deref() {
            None => break,
            Some(word @ ("and" | "or")) => parts.push_str(&format!(" {} ", word.to_ascii_uppercase())),
            Some(other) => return Err(format!("`{other}` is not understood behind a comparison")),
        }
        at += 1;
    }
    let labels: Vec<String> = matched.unwrap_or_default();
    Ok(match labels.is_empty() {
        true => parts,
        false => format!("({parts}) AND {}", labels.join(" AND ")),
    })
}

/// A comparison of a column with a number, the conditions on its labels, and how many words it has.
fn comparison(tokens: &[String]) -> Result<(String, Vec<String>, usize), String> {
    let word = |at: usize| tokens.get(at).map_or("", String::as_str);
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_alphabetic() || c == '_') && !text.eq_ignore_ascii_case("bool")
    };
    if !is_name(word(0)) {
        return Err(format!("`{}` is not understood where a column should be", word(0)));
    }
    let (mut at, mut labels) = (1, Vec::new());
    match word(1) {
        "(" => return Err(format!("there is no `{}( )` over windows", word(0))),
        "{" => {
            at = 2;
            while word(at) != "}" {
                let (label, sign, text) = (word(at), word(at + 1), word(at + 2));
                let unquoted = text.strip_prefix(['"', '\'']).and_then(|text| text.strip_suffix(['"', '\'']));
                let text = unquoted.filter(|text| is_name(label) && !text.contains('\\'));
                let text = text.ok_or("its labels are not understood")?.replace('\'', "''");
                let column = format!("coalesce(\"{label}\", '')");
                labels.push(match sign {
                    "=" => format!("{column} = '{text}'"),
                    "!=" => format!("{column} <> '{text}'"),
                    "=~" => format!("regexp_like({column}, '^(?:{text})$')"),
                    "!~" => format!("NOT regexp_like({column}, '^(?:{text})$')"),
                    _ => return Err("its labels are not understood".to_owned()),
                });
                at += if word(at + 3) == "," { 4 } else { 3 };
            }
            at += 1;
        }
        "[" => return Err("it is about a range".to_owned()),
        _ => {}
    }
    labels.sort();
    let sign = match word(at) {
        sign @ (">" | ">=" | "<" | "<=") => sign,
        "==" => "=",
        "!=" => "<>",
        "+" | "-" | "*" | "/" | "%" | "^" => return Err("it calculates".to_owned()),
        "" => return Err("it compares with nothing".to_owned()),
        other => return Err(format!("`{other}` is not understood where a comparison should be")),
    };
    let minus = usize::from(word(at + 1) == "-");
    let number: f64 = word(at + 1 + minus)
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("`{}` is no number", word(at + 1)))?;
    let number = if minus == 1 { -number } else { number };
    if ["+", "-", "*", "/", "%", "^"].contains(&word(at + 2 + minus)) {
        return Err("it calculates".to_owned());
    }
    Ok((format!("\"{}\" {sign} {number}", word(0)), labels, at + 2 + minus))
}

/// A text of Go's templates as one of Weir's: labels, and the value.
fn template(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("{{") {
        let (inside, after) = behind.split_once("}}").ok_or("a template has no end")?;
        let name = match inside.trim().trim_matches('-').trim() {
            "$value" | ".Value" => "value",
            inside => {
                let label = inside.strip_prefix("$labels.").or(inside.strip_prefix(".Labels."));
                let is_name = |label: &&str| label.chars().all(|c| c.is_alphanumeric() || c == '_');
                label.filter(is_name).ok_or_else(|| format!("`{{{{{inside}}}}}` is not understood"))?
            }
        };
        plain(before, &mut out);
        out.push_str(&format!("{{{{ {name} }}}}"));
        rest = after;
    }
    plain(rest, &mut out);
    Ok(out)
}

/// What means something to Weir's templates only.
fn plain(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '{' | '$' => out.push_str(&format!("{{{{ '{c}' }}}}")),
            other => out.push(other),
        }
    }
}
