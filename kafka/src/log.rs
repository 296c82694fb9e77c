//! The lines of librdkafka, in the program's log.

use std::fmt::Display;

use rdkafka::config::RDKafkaLogLevel;

use crate::Properties;

/// The target of librdkafka's lines.
const TARGET: &str = "librdkafka";

/// Brings one line of librdkafka, said for the component `component`, into the program's log. For
/// [`ClientContext::log`](rdkafka::ClientContext::log).
///
/// Lost connections are said again through [`ClientContext::error`](rdkafka::ClientContext::error), where the
/// component says them in its words and limits them: here they are for debugging.
pub fn log(component: &dyn Display, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if matches!(facility, "FAIL" | "ERROR") => {
            tracing::debug!(target: TARGET, %component, facility, "{message}");
        }
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: TARGET, %component, facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: TARGET, %component, facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: TARGET, %component, facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: TARGET, %component, facility, "{message}"),
    }
}

/// How much librdkafka is to say: everything when `properties` have `debug` or the program logs `librdkafka`
/// at debug level, else no more than `Info`. For
/// [`ClientConfig::set_log_level`](rdkafka::ClientConfig::set_log_level).
#[must_use]
pub fn log_level(properties: &Properties) -> RDKafkaLogLevel {
    if properties.contains("debug") || tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The program's log of these lines, at debug level.
    fn logged(say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_line_names_its_component_and_keeps_its_weight() {
        for (level, facility, word) in [
            (RDKafkaLogLevel::Emerg, "X", "ERROR"),
            (RDKafkaLogLevel::Critical, "X", "ERROR"),
            (RDKafkaLogLevel::Error, "X", "WARN"),
            (RDKafkaLogLevel::Warning, "X", "WARN"),
            (RDKafkaLogLevel::Notice, "X", "INFO"),
            (RDKafkaLogLevel::Debug, "X", "DEBUG"),
            (RDKafkaLogLevel::Error, "FAIL", "DEBUG"),
            (RDKafkaLogLevel::Info, "FAIL", "DEBUG"),
        ] {
            let line = logged(|| log(&"threshold/a", level, facility, "it happened"));
            assert!(line.trim_start().starts_with(word), "{level:?} {facility}: {line}");
            for part in ["librdkafka", "it happened", "component=threshold/a", facility] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }

    #[test]
    fn librdkafka_logs_everything_when_the_level_asks_for_it() {
        let none = Properties::default();
        let debug: Properties = [("debug".to_owned(), "broker".to_owned())].into_iter().collect();
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), || {
            assert!(matches!(log_level(&none), RDKafkaLogLevel::Info));
            assert!(matches!(log_level(&debug), RDKafkaLogLevel::Debug));
        });
        logged(|| assert!(matches!(log_level(&none), RDKafkaLogLevel::Debug)));
    }
}
