//! The ClickHouse exporter: batches into the bodies of inserts, over a socket.

use anyhow::{Result, anyhow};
use arrow::array::RecordBatch;
use weir_component::{Context, DeadLetters, Settings, Telemetry};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::{Ack, EventBatch, Origin, Signal};

use crate::sink;

/// Batches of an insert: 8,192 rows, of the 10,000 that are the most by default.
const TOGETHER: usize = 2;

/// Exports `count` batches.
pub async fn run(columns: &[RecordBatch], count: usize) -> Result<()> {
    let url = sink::start().await?;
    let text = format!(
        "receivers: {{generator: }}\nexporters: {{clickhouse: {{endpoint: \"{url}\"}}}}\n\
         service: {{pipelines: {{main: {{receivers: [generator], exporters: [clickhouse]}}}}}}\n"
    );
    let wrong = |errors: Diagnostics| anyhow!("{errors}");
    let document = Document::load(vec![SourceText::new("encode", text)], &[], &|_| None).map_err(wrong)?;
    let topology = Topology::read(&document).map_err(wrong)?;
    let section = &topology.exporters[0];
    let telemetry = Telemetry::default();
    let dead_letters = DeadLetters::new("dead-letter", 1 << 20, telemetry.clone());
    let context = Context::new(section.id.clone(), telemetry, dead_letters);
    let create = weir_exporter_clickhouse::FACTORY.create;
    let exporter = create(Settings::new(&document, section), context).map_err(wrong)?.exporter;
    let batches: Vec<EventBatch> = columns.iter().cycle().take(count).cloned().map(batch).collect();
    for insert in batches.chunks(TOGETHER) {
        exporter.export(insert).await?;
    }
    Ok(())
}

/// With an identity, as the helper in front of the exporter gives it.
fn batch(columns: RecordBatch) -> EventBatch {
    let origin = Origin { identity: Some("cluster/group/topic/0/0-511/0".into()), ..Origin::default() };
    EventBatch::columns(Signal::Traces, columns, origin, Ack::none())
}
