//! The settings of `health_check`. The key-by-key list is in the README.

use serde::Deserialize;
use weir_component::{Check, Settings};
use weir_config::{Diagnostics, Duration, check_listen};

/// The Collector's port.
const PORT: u16 = 13133;

/// Where to listen, and which errors count.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthCheckConfig {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// Which errors of components make the program unhealthy.
    pub(crate) component_health: ComponentHealth,
}

/// Which errors of components make the program unhealthy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ComponentHealth {
    /// Errors from which a component recovers by itself.
    pub(crate) include_recoverable_errors: bool,
    /// Errors that last until a person acts.
    pub(crate) include_permanent_errors: bool,
    /// A recoverable error counts when it has lasted this long.
    pub(crate) recovery_duration: Duration,
}

impl Default for HealthCheckConfig {
    fn default() -> HealthCheckConfig {
        HealthCheckConfig {
            endpoint: format!("localhost:{PORT}"),
            component_health: ComponentHealth::default(),
        }
    }
}

impl Default for ComponentHealth {
    fn default() -> ComponentHealth {
        ComponentHealth {
            include_recoverable_errors: true,
            include_permanent_errors: true,
            recovery_duration: Duration::from_secs(300),
        }
    }
}

impl HealthCheckConfig {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Every wrong key and value, with its place.
    pub(crate) fn read(settings: Settings<'_>) -> Result<HealthCheckConfig, Diagnostics> {
        let mut config: HealthCheckConfig = settings.read()?;
        config.endpoint = config.endpoint.trim().to_owned();
        let mut check = Check::new(settings);
        if let Err(why) = check_listen(&config.endpoint, PORT) {
            check.wrong("endpoint", why);
        }
        check.finish(config)
    }
}
