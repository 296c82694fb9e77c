//! Which environment variables become columns.

use weir_config::is_secret_key;

/// The environment variables of this process that are text.
pub(crate) fn of_this_process() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The variables that fit one of `patterns`, as column (`env.NAME`) and value, sorted by name.
///
/// A pattern with `*` (any text) or `?` (one character) never takes a variable whose name says that it is
/// secret (`POD_TOKEN`, `DB_PASSWORD`, …): it must be named in full.
pub(crate) fn selected(patterns: &[String], environment: &[(String, String)]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| takes(pattern, name)))
        .map(|(name, value)| (format!("env.{name}"), value.clone()))
        .collect();
    found.sort();
    found.dedup_by(|next, one| next.0 == one.0);
    found
}

fn takes(pattern: &str, name: &str) -> bool {
    pattern == name || (fits(pattern.as_bytes(), name.as_bytes()) && !is_secret_key(name))
}

/// Whether the whole name fits the glob. Takes time proportional to pattern × name at worst.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // After the last `*`: where the pattern goes on, and how much of the name it has swallowed.
    let mut retry: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, from));
            }
            Some(wanted) if *wanted == b'?' || *wanted == name[from] => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((behind, swallowed)) = retry else { return false };
                (at, from) = (behind, swallowed + 1);
                retry = Some((at, from));
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected_of(patterns: &[&str], names: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let environment: Vec<_> = names.iter().map(|name| ((*name).to_owned(), format!("{name}!"))).collect();
        let selected = selected(&patterns, &environment).into_iter();
        selected.map(|(column, _)| column.strip_prefix("env.").unwrap().to_owned()).collect()
    }

    #[test]
    fn variables_are_selected_by_name_or_glob() {
        let names = ["POD_NAME", "POD_IP", "HOSTNAME", "PATH", "TRIPOD_"];
        assert_eq!(selected_of(&["HOSTNAME", "POD_*"], &names), ["HOSTNAME", "POD_IP", "POD_NAME"]);
        assert_eq!(selected_of(&["P?TH", "*POD_"], &names), ["PATH", "TRIPOD_"]);
        assert_eq!(selected_of(&["POD", "pod_*", ""], &names), [""; 0]);
        assert_eq!(selected_of(&["*_*A*E"], &names), ["POD_NAME"]);
    }

    #[test]
    fn a_glob_takes_no_secret_but_its_full_name_does() {
        let names = ["POD_TOKEN", "POD_PASSWORD", "POD_NAME"];
        assert_eq!(selected_of(&["POD_*"], &names), ["POD_NAME"]);
        assert_eq!(selected_of(&["POD_*", "POD_TOKEN"], &names), ["POD_NAME", "POD_TOKEN"]);
    }

    #[test]
    fn a_variable_is_below_env_and_so_no_column_that_events_have() {
        let environment = [("service".to_owned(), "a".to_owned()), ("HOSTNAME".to_owned(), "b".to_owned())];
        let columns = selected(&["*".to_owned()], &environment);
        assert_eq!(
            columns,
            [("env.HOSTNAME", "b"), ("env.service", "a")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!fits("*a".repeat(100).as_bytes(), format!("{}b", "a".repeat(1000)).as_bytes()));
    }
}
