//! The settings of a `sample` processor.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::Diagnostics;
use weir_pdata::{Signal, SignalSet};

use crate::threshold::{DIGITS, Threshold};

/// A `sample` section as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The share of traces that stay.
    probability: f64,
    /// How many hexadecimal digits of the threshold are significant.
    #[serde(default = "default_precision")]
    precision: u32,
    #[serde(default = "default_signals")]
    signals: Vec<Signal>,
}

/// As the Collector's sampler: so both have the same threshold for the same probability.
fn default_precision() -> u32 {
    4
}

fn default_signals() -> Vec<Signal> {
    vec![Signal::Traces]
}

/// A checked section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// Traces whose randomness is below it go.
    pub(crate) threshold: Threshold,
    /// The signals whose rows are sampled.
    pub(crate) signals: SignalSet,
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>) -> Result<Checked, Diagnostics> {
    let Config { probability, precision, signals } = settings.read()?;
    let mut check = Check::new(settings);
    let known_precision = (1..=DIGITS).contains(&precision);
    if !known_precision {
        check.wrong("precision", format!("must be from 1 to {DIGITS} hexadecimal digits"));
    }
    let threshold = Threshold::of_probability(probability, precision.clamp(1, DIGITS));
    if threshold.is_none() {
        let message = if probability == 0.0 {
            "nothing would stay; to drop rows use `filter`, or leave the exporter out".to_owned()
        } else if (0.0..=1.0).contains(&probability) {
            format!("{probability} is too little for {precision} digits; raise precision or the probability")
        } else {
            "must be more than 0 and at most 1: 0.1 keeps a tenth of the traces".to_owned()
        };
        check.wrong("probability", message);
    }
    if signals.is_empty() {
        check.wrong("signals", "name traces, logs, or both");
    }
    for (at, signal) in signals.iter().enumerate() {
        let key = format!("signals[{at}]");
        if !matches!(signal, Signal::Traces | Signal::Logs) {
            check.wrong(&key, format!("{signal} have no trace id; use traces or logs"));
        } else if signals[..at].contains(signal) {
            check.wrong(&key, format!("`{signal}` is named twice"));
        }
    }
    check.finish_some(threshold.map(|threshold| Checked { threshold, signals: SignalSet::of(&signals) }))
}
