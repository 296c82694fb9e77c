//! The exporter: alarms of an export go in one request, or in as few as the target takes. With `notify` they
//! are taken down, and sent when and with whom they should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use weir_component::exporter_helper::HelperConfig;
use weir_component::{Context, ExportError, Exporter, StartError};
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::alarm::Alarm;
use crate::metrics::Metrics;
use crate::notify::Outcome;
use crate::notify::config::Settings;
use crate::notify::driver::Driver;
use crate::sender::Sender;

/// Sends alarms to one address.
pub(crate) struct Webhook {
    sender: Arc<Sender>,
    helper: HelperConfig,
    context: Context,
    metrics: Metrics,
    notify: Option<Settings>,
    /// What `notify` has started. Not in commands that send what they are told to.
    driver: OnceCell<Option<Driver>>,
}

impl Webhook {
    pub(crate) fn new(
        sender: Sender,
        notify: Option<Settings>,
        helper: HelperConfig,
        context: Context,
    ) -> Webhook {
        let (sender, metrics) = (Arc::new(sender), Metrics::new(&context));
        Webhook { sender, helper, context, metrics, notify, driver: OnceCell::new() }
    }

    async fn begin(&self) -> Result<Option<Driver>, StartError> {
        let Some(settings) = &self.notify else { return Ok(None) };
        let started = Driver::start(
            settings.clone(),
            self.helper.storage.as_ref(),
            self.helper.retry,
            Arc::clone(&self.sender),
            self.context.clone(),
        );
        let started = started.await.map_err(StartError)?;
        if started.is_none() {
            let exporter = self.context.id.to_string();
            tracing::warn!(
                exporter,
                "without a storage that is started, `notify` has no effect: alarms are sent as they come"
            );
        }
        Ok(started)
    }
}

#[async_trait]
impl Exporter for Webhook {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Alarms])
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    /// By `webhook-id`. So the alarms of a window go in the same requests whenever they are sent.
    fn is_idempotent(&self) -> bool {
        true
    }

    async fn start(&self) -> Result<(), StartError> {
        self.driver.get_or_try_init(|| self.begin()).await.map(drop)
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let mut columns = Vec::with_capacity(batches.len());
        for batch in batches {
            match batch.as_columns() {
                Some(batch) => columns.push(batch),
                None => return Err(ExportError::permanent("the batch is not decoded")),
            }
        }
        let rows: usize = columns.iter().map(|columns| columns.num_rows()).sum();
        if rows == 0 {
            return Ok(());
        }
        if let Some(Some(driver)) = self.driver.get() {
            return driver.receive(Alarm::read(columns)).await;
        }
        if rows > self.helper.batch.max_rows {
            // The helper halves them, in order, until they fit. Nothing of them has been sent yet.
            return Err(ExportError::too_large(format!("{rows} alarms are more than batch.max_rows")));
        }
        let alarms = Alarm::read(columns);
        self.sender.turn().await;
        let delivered = self.sender.deliver(&alarms, &BTreeMap::new(), None).await;
        match &delivered {
            Ok(()) => {
                let now_ms = self.context.clock.now_ms();
                for alarm in &alarms {
                    self.metrics.count(Outcome::Sent);
                    self.metrics.delay(now_ms.saturating_sub(alarm.millis("time").unwrap_or(now_ms)));
                }
            }
            Err(_) => self.metrics.failure(),
        }
        delivered
    }

    async fn stop(&self) {
        if let Some(Some(driver)) = self.driver.get() {
            driver.stop().await;
        }
    }
}
