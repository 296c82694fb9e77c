//! Weir's own log: for people on a terminal, JSON lines otherwise, always on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use weir_config::{LogFormat, LogSettings};

/// Starts the log. `WEIR_LOG` (`tracing` filter syntax) overrides the configured level.
pub(crate) fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,weir={0}", settings.level.as_str())));
    let human = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (tests) keeps the first log.
    let _ = if human {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        builder.compact().with_target(false).with_ansi(colours).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
