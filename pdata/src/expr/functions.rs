//! The functions that expressions may call: every scalar function that this build of DataFusion has
//! and that gives the same result whenever it is called; and `div`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};

/// The names that the SQL planner may find: scalar functions, and nothing else.
pub(super) struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    others: HashMap<String, &'static str>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

/// The meaning of a function's name.
pub(super) enum FunctionKind {
    /// A function of the values of one row.
    Scalar,
    /// Something that an expression cannot call, and why not.
    Forbidden(String, &'static str),
    /// There is none; with the nearest name of a scalar function.
    Unknown(Option<String>),
}

/// Functions that make lists of any length.
const ENDLESS: [&str; 6] =
    ["range", "generate_series", "array_repeat", "list_repeat", "array_resize", "list_resize"];

/// All functions.
pub(super) fn functions() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);
    &FUNCTIONS
}

impl Functions {
    fn new() -> Functions {
        let mut scalar = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            for alias in function.aliases() {
                scalar.insert(alias.clone(), function.clone());
            }
            scalar.insert(function.name().to_owned(), function.clone());
        }
        scalar.insert(super::div::NAME.to_owned(), super::div::div());
        let mut others = HashMap::new();
        for function in SessionStateDefaults::default_window_functions() {
            others.insert(function.name().to_owned(), "window function");
        }
        for function in SessionStateDefaults::default_aggregate_functions() {
            for name in function.aliases() {
                others.insert(name.clone(), "aggregate function");
            }
            others.insert(function.name().to_owned(), "aggregate function");
        }
        let planners = SessionStateDefaults::default_expr_planners();
        Functions { scalar, others, planners, options: ConfigOptions::default() }
    }

    /// Finds a function by its name, in any case.
    pub(super) fn find(&self, name: &str) -> FunctionKind {
        let lower = name.to_lowercase();
        if ENDLESS.contains(&lower.as_str()) {
            return FunctionKind::Forbidden(
                format!("the function `{lower}`"),
                "it makes a list as long as an argument says; an expression gives one value",
            );
        }
        if let Some(function) = self.scalar.get(&lower) {
            return match function.signature().volatility {
                Volatility::Immutable => FunctionKind::Scalar,
                Volatility::Stable | Volatility::Volatile => FunctionKind::Forbidden(
                    format!("the function `{lower}`"),
                    "its result depends on when it is called, so a replay would give other results",
                ),
            };
        }
        if let Some(kind) = self.others.get(&lower) {
            return FunctionKind::Forbidden(
                format!("the {kind} `{lower}`"),
                "an expression sees one event at a time; sums over events are measures of `aggregate`",
            );
        }
        let near = |candidate: &str| (levenshtein(&lower, candidate), candidate.to_owned());
        let best = self.scalar.keys().map(|candidate| near(candidate)).min();
        FunctionKind::Unknown(
            best.filter(|(edits, _)| *edits <= (lower.len() / 3).clamp(1, 3)).map(|(_, name)| name),
        )
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("an expression cannot read the table {name}")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
