//! The rules that tests are for: of rule files, and of the `threshold` sections of configurations.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use weir_component::{Check, Settings};
use weir_config::{ComponentId, Diagnostic, Diagnostics, Document, SourceText, Topology};

use crate::config::Config;
use crate::rule::Rule;
use crate::rule_source::files::{RuleFiles, unreadable};

/// All rules of these files that are enabled.
pub(super) fn rules(files: &[PathBuf]) -> Result<Vec<Rule>, Diagnostics> {
    let (mut found, mut rules) = (Diagnostics::new(), Vec::<Rule>::new());
    for file in files {
        match of_file(file) {
            Ok(more) => rules.extend(more),
            Err(wrong) => found.extend(wrong),
        }
    }
    let mut names = BTreeSet::new();
    for rule in &rules {
        if !names.insert(&rule.name) {
            found.push(Diagnostic::error(format!("there are two rules `{}`; names must differ", rule.name)));
        }
    }
    found.into_result(rules)
}

/// A file as the sections of components are read.
pub(super) fn document(file: &Path) -> Result<Document, Diagnostics> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let wrong = Diagnostic::error(format!("cannot read `{name}`: {error}"));
        one(wrong.with_help("check the path; in a file of tests it is relative to that file"))
    })?;
    Document::load(vec![SourceText::new(name, text)], &[], &|name| std::env::var(name).ok())
}

/// The id under which the rules are evaluated.
pub(crate) fn id() -> Result<ComponentId, Diagnostics> {
    ComponentId::new("threshold", None).map_err(|error| one(Diagnostic::error(error.to_string())))
}

fn one(wrong: Diagnostic) -> Diagnostics {
    let mut all = Diagnostics::new();
    all.push(wrong);
    all
}

fn of_file(file: &Path) -> Result<Vec<Rule>, Diagnostics> {
    let document = document(file)?;
    if document.root().get("processors").is_none() {
        return of_rule_files(vec![file.to_owned()]);
    }
    let topology = Topology::read(&document)?;
    let mut rules = Vec::new();
    for section in topology.processors.iter().filter(|section| section.id.kind() == "threshold") {
        let settings = Settings::new(&document, section);
        let config: Config = settings.read()?;
        let mut check = Check::new(settings);
        let own = config.check(&mut check);
        check.finish(())?;
        rules.extend(own.into_iter().map(|(_, rule)| rule));
        rules.extend(of_rule_files(config.rules.files)?);
    }
    Ok(rules)
}

fn of_rule_files(paths: Vec<PathBuf>) -> Result<Vec<Rule>, Diagnostics> {
    let files = RuleFiles { id: id()?, paths };
    let texts = files.read().map_err(|why| one(unreadable(why)))?;
    files.rules(&texts)
}
