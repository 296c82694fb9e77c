//! Extensions: started before everything else, stopped after everything else.

use anyhow::Context as _;
use weir_component::{Context, Extension, Status};

/// Extensions that are started, in that order.
pub(super) struct Extensions(Vec<(Context, Box<dyn Extension>)>);

impl Extensions {
    /// Starts these, in order.
    ///
    /// # Errors
    /// When one cannot start; those before it are stopped first.
    pub(super) async fn start(extensions: Vec<(Context, Box<dyn Extension>)>) -> anyhow::Result<Extensions> {
        let mut started = Extensions(Vec::new());
        for (context, extension) in extensions {
            if let Err(error) = extension.start().await {
                started.stop().await;
                return Err(error).with_context(|| format!("extension {} cannot start", context.id));
            }
            context.health.report(Status::Ok);
            started.0.push((context, extension));
        }
        Ok(started)
    }

    /// Tells them that everything else has started.
    pub(super) async fn ready(&self) {
        for (_, extension) in &self.0 {
            extension.ready().await;
        }
    }

    /// Stops them, the last one first.
    pub(super) async fn stop(self) {
        for (_, extension) in self.0.into_iter().rev() {
            extension.stop().await;
        }
    }
}
