//! Measures the decoder alone: bytes → columns.
//!
//! `measure_decode <segments>`: decodes batches of 256 generated segments on one thread, every attribute in
//! the list, and prints time and heap allocations a segment.

use std::io::Write;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Result, bail};
use mimalloc::MiMalloc;
use weir_allocations::Counting;
use weir_pdata::{Ack, Encoded, EventBatch, Origin, Projection, Signal, decode};
use weir_tests::{Pace, generate};

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting::new(MiMalloc);

/// Segments that are kept in memory and decoded again and again.
const KEPT: u64 = 4_096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Some(segments) = std::env::args().nth(1) else { bail!("usage: measure_decode <segments>") };
    let rounds = segments.parse::<u64>()?.div_ceil(KEPT);
    let (keep, kept) = mpsc::channel();
    generate(KEPT, Pace::Unlimited, move |encoded| Ok(keep.send(encoded.clone())?)).await?;
    let batches: Vec<Encoded> = kept.iter().collect();
    let projection = Projection::everything();
    let rows: usize = batches.iter().map(|batch| decode(batch, &projection).columns.num_rows()).sum();

    let kept_alive = |batch: &Encoded| {
        let columns = decode(batch, &projection).columns;
        EventBatch::columns(Signal::Traces, columns, Origin::default(), Ack::none()).memory()
    };
    let memory: usize = batches.iter().map(kept_alive).sum();
    let before = ALLOCATOR.count();
    let began = Instant::now();
    for batch in (0..rounds).flat_map(|_| &batches) {
        std::hint::black_box(decode(batch, &projection));
    }
    let (took, allocations) = (began.elapsed(), ALLOCATOR.count() - before);

    let decoded = (rounds * KEPT) as f64;
    let bytes: usize = batches.iter().map(|batch| batch.arena.len()).sum();
    writeln!(
        std::io::stdout(),
        "{{\"us\": {:.3}, \"allocations\": {:.3}, \"bytes\": {:.0}, \"memory\": {:.0}, \"spans\": {:.2}}}",
        took.as_secs_f64() * 1e6 / decoded,
        allocations as f64 / decoded,
        bytes as f64 / KEPT as f64,
        memory as f64 / KEPT as f64,
        rows as f64 / KEPT as f64,
    )?;
    Ok(())
}
