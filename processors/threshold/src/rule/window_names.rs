//! Names of window columns and labels in rules, checked against the windows that reach the processor.

use weir_alarms::Severity;
use weir_component::{WindowProblem, WindowSources};

use crate::rule::earlier;
use crate::rule::glob::Glob;
use crate::rule::{Classic, InlineRule, Kind, Rule};

/// The faults of the rules of the configuration, whose list is at `path`, each with its place there.
pub(crate) fn check<'a>(
    path: &str,
    rules: impl Iterator<Item = (usize, &'a InlineRule)>,
    sources: &WindowSources,
) -> Vec<WindowProblem> {
    let mut problems = Vec::new();
    for (index, rule) in rules {
        let of = |id: &str| fits(rule.operator.as_ref(), id);
        let path = format!("{path}[{index}]");
        if let Some(glob) = &rule.operator {
            problems.extend(sources.check_operator(&format!("{path}.operator"), glob.pattern(), of));
        }
        // A label that is missing fits `*`.
        let labels = rule.labels.iter().filter(|(_, glob)| !glob.is_match(""));
        problems.extend(
            labels.filter_map(|(name, _)| sources.check_label(&format!("{path}.match.{name}"), name, of)),
        );
        for severity in Severity::FROM_HIGH {
            let names = rule.when.get(severity).iter().flat_map(|clause| clause.condition.names());
            let key = format!("{path}.when.{}", severity.name());
            let names = names.map(|name| earlier::of_window(name));
            problems.extend(names.filter_map(|name| sources.check_column(&key, name, of)));
        }
    }
    problems
}

/// Why a classic rule can never raise an alarm, when that is certain. `operator`: whose windows classic rules
/// evaluate.
pub(crate) fn check_classic(rule: &Rule, operator: Option<&Glob>, sources: &WindowSources) -> Option<String> {
    let Kind::Classic(Classic { endpoint, limits }) = &rule.kind else { return None };
    let of = |id: &str| fits(operator, id);
    let labels = [("service", endpoint.service.is_some()), ("operation", endpoint.operation.is_some())];
    let labels = labels.into_iter().filter(|(_, named)| *named);
    let labels = labels.filter_map(|(name, _)| sources.check_label("", name, of));
    let measures = limits.iter().filter_map(|limit| sources.check_column("", limit.measure, of));
    let mut problems = labels.chain(measures);
    problems.find(|problem| problem.certain).map(|problem| problem.message)
}

fn fits(operator: Option<&Glob>, id: &str) -> bool {
    operator.is_none_or(|glob| glob.is_match(id))
}
