//! Extensions: started before everything else, stopped after everything else.

use anyhow::Context as _;
use weir_component::Extension;
use weir_config::ComponentId;

/// Extensions that are started, in that order.
pub struct Extensions(Vec<(ComponentId, Box<dyn Extension>)>);

impl Extensions {
    /// Starts these, in order.
    ///
    /// # Errors
    /// When one cannot start; those before it are stopped first.
    pub async fn start(extensions: Vec<(ComponentId, Box<dyn Extension>)>) -> anyhow::Result<Extensions> {
        let mut started = Extensions(Vec::new());
        for (id, extension) in extensions {
            if let Err(error) = extension.start().await {
                started.stop().await;
                return Err(error).with_context(|| format!("extension {id} cannot start"));
            }
            started.0.push((id, extension));
        }
        Ok(started)
    }

    /// Tells them that everything else has started.
    pub async fn ready(&self) {
        for (_, extension) in &self.0 {
            extension.ready().await;
        }
    }

    /// Stops them, the last one first.
    pub async fn stop(self) {
        for (_, extension) in self.0.into_iter().rev() {
            extension.stop().await;
        }
    }
}
