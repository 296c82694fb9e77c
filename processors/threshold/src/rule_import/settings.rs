//! The parts of `alarm-settings.yml`: rules, and hooks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use weir_config::{Diagnostic, Diagnostics, Document, Node};

use super::expression::{Asked, Of, read, tokens};
use super::imported::{Imported, first, one, readable};
use super::metric::Scope;
use super::writing::{self, Written, quoted, quoted_map};

/// The keys of a rule.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuleKeys {
    expression: Option<String>,
    period: Option<u32>,
    silence_period: Option<u32>,
    recovery_observation_period: Option<u32>,
    #[serde(default)]
    include_names: Vec<String>,
    #[serde(default)]
    exclude_names: Vec<String>,
    include_names_regex: Option<String>,
    exclude_names_regex: Option<String>,
    message: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    hooks: Vec<String>,
}

const KEYS: [&str; 11] = [
    "expression",
    "period",
    "silence-period",
    "recovery-observation-period",
    "include-names",
    "exclude-names",
    "include-names-regex",
    "exclude-names-regex",
    "message",
    "tags",
    "hooks",
];

/// Hooks for which there is a kind of `webhook`.
const HOOKS: [(&str, &str); 7] = [
    ("webhook", "skywalking"),
    ("slack", "slack"),
    ("wechat", "wecom"),
    ("dingtalk", "dingtalk"),
    ("feishu", "feishu"),
    ("pagerduty", "pagerduty"),
    ("pager-duty", "pagerduty"),
];

/// Reads the settings.
pub(super) fn import(name: &str, document: &Document) -> Result<Imported, Diagnostics> {
    let root = document.root();
    let rules = root.get("rules").and_then(Node::entries).ok_or_else(|| {
        let wrong = Diagnostic::error("there is no map `rules` with rules of SkyWalking");
        one(wrong.with_help("give the file `alarm-settings.yml` of an OAP server"))
    })?;
    let (mut remarks, mut written, mut scopes) = (Vec::new(), Vec::new(), BTreeSet::new());
    for entry in rules {
        let line = entry.key.span.line as usize;
        let rule = entry.key.text.as_str();
        let mut remark = |line: usize, why: &str| remarks.push((line, format!("{rule}: {why}")));
        for key in entry.value.entries().unwrap_or_default() {
            if !KEYS.contains(&key.key.text.as_str()) {
                let why = format!("`{}` is not taken: Weir's rules have nothing like it", key.key.text);
                remark(key.key.span.line as usize, &why);
            }
        }
        let keys = document.read(&entry.value, &format!("rules.{rule}")).map_err(|wrong| first(&wrong));
        let taken = keys.and_then(|keys: RuleKeys| take(rule, &keys, &mut |why| remark(line, why)));
        match taken.and_then(|(scope, text)| Ok((scope, readable(text)?))) {
            Ok((scope, text)) => {
                scopes.insert(scope);
                written.push(text);
            }
            Err(why) => remark(line, &format!("not taken: {why}")),
        }
    }
    for entry in root.entries().unwrap_or_default() {
        let line = entry.key.span.line as usize;
        match entry.key.text.as_str() {
            "rules" => {}
            "hooks" => hooks(&entry.value, &mut remarks),
            other => remarks.push((line, format!("`{other}` is not taken"))),
        }
    }
    let rules = written.len();
    Ok(Imported { yaml: writing::file(name, &scopes, &written), rules, remarks })
}

fn hooks(hooks: &Node, remarks: &mut Vec<(usize, String)>) {
    for kind in hooks.entries().unwrap_or_default() {
        let known = HOOKS.iter().find(|(hook, _)| *hook == kind.key.text).map(|(_, kind)| *kind);
        for hook in kind.value.entries().unwrap_or_default() {
            let (line, hook) = (hook.key.span.line as usize, format!("{}.{}", kind.key.text, hook.key.text));
            remarks.push((
                line,
                match known {
                    Some(kind) => format!(
                        "hook {hook}: not taken: write an exporter `webhook` with `kind: {kind}`, and what it \
                         is for in its `notify.match`"
                    ),
                    None => format!("hook {hook}: not taken: no kind of `webhook` is like it"),
                },
            ));
        }
    }
}

/// The rule in Weir's words.
fn take(name: &str, keys: &RuleKeys, remark: &mut dyn FnMut(&str)) -> Result<(Scope, String), String> {
    let Some(expression) = &keys.expression else {
        return Err("it has no `expression` (rules of versions before 9.6 have none)".to_owned());
    };
    let period = keys.period.unwrap_or(1).max(1);
    let recovery = keys.recovery_observation_period.unwrap_or(0);
    let Asked { mut condition, scope, of } = read(expression, period)?;
    let (fire_after, resolve_after) = match of {
        Of::Last => (1, recovery + 1),
        Of::All => (period, recovery + 1),
        Of::Some(1) => (1, period + recovery),
        Of::Some(least) if least > period => {
            return Err(format!("it never fires: {least} minutes are not in a period of {period}"));
        }
        Of::Some(least) => {
            let after = recovery + 1;
            remark(&format!(
                "{least} of {period} minutes became {least} minutes one after the other, and `resolve_after` \
                 {after}"
            ));
            (least, recovery + 1)
        }
    };
    differences(expression, period, of, remark);
    for part in names(keys, scope)? {
        condition = format!("{condition} AND {part}");
    }
    let mut labels = keys.tags.clone();
    let level = labels.remove("level");
    let severity = match level.as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("CRITICAL" | "FATAL" | "HIGH" | "ERROR") => "high",
        Some("INFO" | "LOW" | "NOTICE") => "low",
        None | Some("WARNING" | "WARN" | "MID") => "mid",
        Some(other) => {
            remark(&format!("the tag `level: {other}` became the severity `mid`"));
            "mid"
        }
    };
    if !keys.hooks.is_empty() {
        let hooks = keys.hooks.join(", ");
        remark(&format!("the hooks {hooks} are not taken: targets choose their alarms with `notify.match`"));
    }
    let message = keys.message.as_deref().map(|text| message(text, scope));
    let silence = keys.silence_period.unwrap_or(period);
    if silence == 0 {
        remark("with `silence-period: 0` SkyWalking tells of it each minute, and here it is told once");
    }
    let forgotten = period.saturating_add(recovery);
    let windows = |windows: u32| Some(windows.to_string()).filter(|_| windows > 1);
    let more = [
        ("for", windows(fire_after)),
        ("resolve_after", windows(resolve_after)),
        ("resolve_without_data", Some(format!("{forgotten}m"))),
        ("silence", Some(format!("{silence}m")).filter(|_| silence > 0)),
        ("message", message.as_deref().map(quoted)),
        ("labels", Some(quoted_map(&labels)).filter(|_| !labels.is_empty())),
    ];
    let more = more.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
    let written = Written { name, operator: Some(scope.operator()), severity, condition, more };
    Ok((scope, written.text()))
}

/// Says where a condition that reads the same means something else.
fn differences(expression: &str, period: u32, of: Of, remark: &mut dyn FnMut(&str)) {
    let words = tokens(expression).unwrap_or_default();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if of == Of::All && period > 1 && has(&["max", "min"]) {
        remark("a minute without data begins anew here, and SkyWalking leaves it out");
    }
    let is_measured = |word: &String| {
        let scopes = ["service_", "endpoint_"];
        scopes.iter().any(|scope| word.starts_with(scope)) && !word.ends_with("_cpm")
    };
    if has(&["==", "!="]) && words.iter().any(is_measured) {
        remark("`==` and `!=` compare whole numbers in SkyWalking, and here what is measured");
    }
}

/// Conditions on the names of what the rule is for.
fn names(keys: &RuleKeys, scope: Scope) -> Result<Vec<String>, String> {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let one = |name: &String| {
        let part = |separator: &str, column: &str| {
            let (own, service) = name
                .rsplit_once(separator)
                .ok_or_else(|| format!("the name `{name}` has no `{separator}` before the service"))?;
            Ok::<_, String>(format!("({column} = {} AND service = {})", text(own), text(service)))
        };
        match scope {
            Scope::Service => Ok(format!("service = {}", text(name))),
            Scope::Instance => part(" of ", "service_instance"),
            Scope::Endpoint => part(" in ", "operation"),
        }
    };
    let whole = match scope {
        Scope::Service => "service",
        Scope::Instance => "service_instance || ' of ' || service",
        Scope::Endpoint => "operation || ' in ' || service",
    };
    let mut parts = Vec::new();
    for (list, regex, not) in [
        (&keys.include_names, &keys.include_names_regex, ""),
        (&keys.exclude_names, &keys.exclude_names_regex, "NOT "),
    ] {
        if !list.is_empty() {
            let all: Vec<String> = list.iter().map(one).collect::<Result<_, _>>()?;
            parts.push(format!("{not}({})", all.join(" OR ")));
        }
        if let Some(regex) = regex.as_ref().filter(|regex| !regex.is_empty()) {
            parts.push(format!("{not}regexp_like({whole}, {})", text(&format!("^(?:{regex})$"))));
        }
    }
    Ok(parts)
}

/// `{name}` and `{id}` are the name of what the rule is for; the rest means nothing to templates.
fn message(text: &str, scope: Scope) -> String {
    let name = match scope {
        Scope::Service => "{{ service }}",
        Scope::Instance => "{{ service_instance }} of {{ service }}",
        Scope::Endpoint => "{{ operation }} in {{ service }}",
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['{', '$']) {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let known = ["{name}", "{id}"].into_iter().find(|known| behind.starts_with(known));
        let length = known.map_or(1, str::len);
        match known {
            Some(_) => out.push_str(name),
            None => out.push_str(&format!("{{{{ '{}' }}}}", &behind[..length])),
        }
        rest = &behind[length..];
    }
    out.push_str(rest);
    out
}
