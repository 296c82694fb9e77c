//! SkyWalking's metrics as columns of windows.

/// What a metric belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Service,
    Instance,
    Endpoint,
}

impl Scope {
    /// The id of the `aggregate` whose windows the rules read.
    pub(super) fn operator(self) -> &'static str {
        match self {
            Scope::Service => "aggregate/service",
            Scope::Instance => "aggregate/instance",
            Scope::Endpoint => "aggregate/endpoint",
        }
    }

    /// What its windows are grouped by.
    pub(super) fn group_by(self) -> &'static str {
        match self {
            Scope::Service => "[service]",
            Scope::Instance => "[service, service_instance]",
            Scope::Endpoint => "[service, operation]",
        }
    }
}

/// A metric, and what one of its values is in the column.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    scope: Scope,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The column, and what its values are divided or multiplied by.
    Column { name: &'static str, times: f64, divided_by: f64 },
    /// The largest and the smallest percentile that were asked for; `None`: windows have none.
    Percentiles { highest: Option<&'static str>, lowest: Option<&'static str>, asked: String },
}

/// A comparison in SQL.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) condition: String,
    pub(super) scope: Scope,
}

impl Metric {
    /// The metric of this name; of percentiles those that are asked for, all if there are none.
    pub(super) fn of(name: &str, percentiles: Vec<String>) -> Result<Metric, String> {
        let unknown = || format!("windows have nothing for the metric `{name}`");
        let scopes = [
            ("service_instance_", Scope::Instance),
            ("service_", Scope::Service),
            ("endpoint_", Scope::Endpoint),
        ];
        let found = scopes.into_iter().find_map(|(prefix, scope)| Some((name.strip_prefix(prefix)?, scope)));
        let (measure, scope) = found.ok_or_else(unknown)?;
        if measure == "percentile" {
            return Ok(Metric { scope, kind: Kind::of_percentiles(percentiles)? });
        }
        if !percentiles.is_empty() {
            return Err(format!("`{name}` has no percentiles"));
        }
        let (column, times, divided_by) = match measure {
            "resp_time" => ("avg_duration_ns", 1e6, 1.0),
            "sla" => ("success_rate", 1.0, 10_000.0),
            "cpm" => ("count", 1.0, 1.0),
            _ => return Err(unknown()),
        };
        Ok(Metric { scope, kind: Kind::Column { name: column, times, divided_by } })
    }

    /// The metric compared with a number.
    pub(super) fn compared(&self, sign: &str, number: f64) -> Result<Compared, String> {
        if !["<", "<=", ">", ">=", "==", "!="].contains(&sign) {
            return Err(format!("`{sign}` is not understood where a comparison should be"));
        }
        let (column, number) = match &self.kind {
            Kind::Column { name, times, divided_by } => (*name, number * times / divided_by),
            Kind::Percentiles { highest, lowest, asked } => {
                // One of them is enough, and they are in order.
                let column = match sign {
                    ">" | ">=" => highest,
                    "<" | "<=" => lowest,
                    _ => &None,
                };
                let column = column.ok_or_else(|| {
                    format!("windows have the percentiles 50, 90, 95 and 99, and it compares {asked} with `{sign}`")
                })?;
                (column, number * 1e6)
            }
        };
        let sign = match sign {
            "==" => "=",
            "!=" => "<>",
            sign => sign,
        };
        Ok(Compared { condition: format!("{column} {sign} {number}"), scope: self.scope })
    }
}

impl Kind {
    fn of_percentiles(asked: Vec<String>) -> Result<Kind, String> {
        let asked =
            if asked.is_empty() { ["50", "75", "90", "95", "99"].map(str::to_owned).into() } else { asked };
        let ranks: Result<Vec<u32>, _> = asked.iter().map(|rank| rank.parse::<u32>()).collect();
        let shown = asked.join(", ");
        let ranks = ranks.map_err(|_| format!("`{shown}` are no percentiles"))?;
        let column = |rank: Option<&u32>| match rank {
            Some(50) => Some("p50_duration_ns"),
            Some(90) => Some("p90_duration_ns"),
            Some(95) => Some("p95_duration_ns"),
            Some(99) => Some("p99_duration_ns"),
            _ => None,
        };
        let (highest, lowest) = (column(ranks.iter().max()), column(ranks.iter().min()));
        Ok(Kind::Percentiles { highest, lowest, asked: shown })
    }
}
