//! The exporter itself.

use async_trait::async_trait;
use weir_component::{ExportError, Exporter};
use weir_pdata::{Demand, EventBatch, SignalSet};

/// Takes everything and keeps nothing.
pub struct Nop;

#[async_trait]
impl Exporter for Nop {
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn demand(&self) -> Demand {
        Demand::nothing()
    }

    async fn export(&self, _batches: &[EventBatch]) -> Result<(), ExportError> {
        Ok(())
    }
}
