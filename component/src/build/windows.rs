//! The windows that reach a processor, as far as the configuration tells.

use std::sync::Arc;

use weir_config::nearest;
use weir_pdata::{Signal, schema};

/// The windows that one operator emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSchema {
    /// The operator: the column `operator`.
    pub operator: Arc<str>,
    /// The columns that they are grouped by.
    pub labels: Vec<String>,
    /// All columns.
    pub columns: Vec<String>,
}

/// The windows that reach a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowSources {
    /// Of the operators before it in its pipeline.
    pub operators: Vec<WindowSchema>,
    /// Windows that were made elsewhere may come, too. What columns they have is not known.
    pub others: bool,
}

/// A name that is read of windows and that none of them has, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowProblem {
    /// The key in the processor's section.
    pub key: String,
    /// The fault.
    pub message: String,
    /// Whether it is wrong for certain; else it may be a slip.
    pub certain: bool,
}

impl WindowSources {
    /// The fault in the column `name` of windows of the operators for which `of` holds. `None`: nothing
    /// that is known.
    #[must_use]
    pub fn check_column(&self, key: &str, name: &str, of: impl Fn(&str) -> bool) -> Option<WindowProblem> {
        self.check(key, name, of, |windows| &windows.columns, "has a column")
    }

    /// The same for a column that windows are grouped by.
    #[must_use]
    pub fn check_label(&self, key: &str, name: &str, of: impl Fn(&str) -> bool) -> Option<WindowProblem> {
        self.check(key, name, of, |windows| &windows.labels, "is grouped by")
    }

    /// The fault in a glob that `of` is the meaning of: no operator may fit it.
    #[must_use]
    pub fn check_operator(&self, key: &str, glob: &str, of: impl Fn(&str) -> bool) -> Option<WindowProblem> {
        if self.operators.iter().any(|windows| of(&windows.operator)) {
            return None;
        }
        let near = nearest(glob, self.operators.iter().map(|windows| &*windows.operator));
        self.problem(key, near, format!("no `aggregate` before this processor is called `{glob}`"))
    }

    fn check(
        &self,
        key: &str,
        name: &str,
        of: impl Fn(&str) -> bool,
        names: impl Fn(&WindowSchema) -> &Vec<String>,
        what: &str,
    ) -> Option<WindowProblem> {
        let operators = self.operators.iter().filter(|windows| of(&windows.operator));
        let mut known: Vec<&str> = operators.flat_map(names).map(String::as_str).collect();
        if known.contains(&name) {
            return None;
        }
        if known.is_empty() {
            // Whatever is wrong then is not the name.
            let fixed = schema::fixed(Signal::Windows);
            known.extend(fixed.iter().map(|field| field.name().as_str()));
            if !self.others || known.contains(&name) {
                return None;
            }
        }
        let near = nearest(name, known.iter().copied());
        self.problem(key, near, format!("no window that reaches this processor {what} `{name}`"))
    }

    fn problem(&self, key: &str, near: Option<&str>, message: String) -> Option<WindowProblem> {
        let certain = !self.others;
        if !certain && near.is_none() {
            return None;
        }
        let message = match near {
            Some(near) => format!("{message}; did you mean `{near}`?"),
            None => message,
        };
        Some(WindowProblem { key: key.to_owned(), message, certain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(others: bool) -> WindowSources {
        let windows = |operator: &str, label: &str, measure: &str| WindowSchema {
            operator: operator.into(),
            labels: vec![label.into()],
            columns: vec![label.into(), measure.into()],
        };
        let operators = vec![
            windows("aggregate/a", "service", "p99_duration_ns"),
            windows("aggregate/b", "operation", "failures"),
        ];
        WindowSources { operators, others }
    }

    #[test]
    fn a_name_that_no_window_has_is_wrong_for_certain_only_where_all_windows_are_known() {
        let all = |_: &str| true;
        let (known, open) = (sources(false), sources(true));
        assert_eq!(known.check_column("k", "failures", all), None);
        let slip = known.check_column("k", "failurs", all).unwrap();
        assert!(slip.certain && slip.message.ends_with("has a column `failurs`; did you mean `failures`?"));
        assert!(known.check_column("k", "unlike_any", all).is_some_and(|problem| problem.certain));
        assert!(known.check_label("k", "failures", all).is_some(), "it is a measure");
        assert!(
            known.check_column("k", "failures", |id| id == "aggregate/a").is_some(),
            "of another operator"
        );
        assert!(open.check_column("k", "failurs", all).is_some_and(|problem| !problem.certain));
        assert_eq!(open.check_column("k", "unlike_any", all), None);
    }

    #[test]
    fn an_operator_that_is_not_there_is_wrong_once() {
        let none = |_: &str| false;
        let known = sources(false);
        let wrong = known.check_operator("operator", "aggregate/c", none).unwrap();
        assert!(wrong.message.contains("is called `aggregate/c`; did you mean `aggregate/a`?"), "{wrong:?}");
        assert_eq!(known.check_column("k", "failurs", none), None);
    }

    #[test]
    fn without_operators_the_fixed_columns_are_known() {
        let open = WindowSources { operators: Vec::new(), others: true };
        assert!(open.check_column("k", "window_strat", |_| true).is_some());
        assert_eq!(open.check_column("k", "window_start", |_| true), None);
        assert_eq!(open.check_column("k", "http.route", |_| true), None);
    }
}
