//! The work whose instructions the guard counts (`make guard`).
//!
//! `count_instructions <stage> <batches>`: so many batches of 256 generated segments go through one stage, on
//! one thread:
//!
//! | stage | what |
//! |---|---|
//! | `decode` | bytes → columns, every attribute in the list |
//! | `aggregate` | the two `aggregate` operators of case 3 of `make bench` on decoded batches, lanes and trunks |
//! | `encode` | the ClickHouse exporter: two decoded batches an insert, as Arrow stream and LZ4, into a server that discards |
//!
//! Everything is made ready first, and that is the same for every number of batches up to [`MOST`]. So the
//! difference of two runs, divided by the difference in segments, is what one more segment takes.

mod aggregate;
mod encode;
mod sink;

use std::sync::mpsc;

use anyhow::{Result, bail, ensure};
use arrow::array::RecordBatch;
use mimalloc::MiMalloc;
use weir_pdata::{Demand, Encoded, Projection, decode};
use weir_tests::{Pace, generate};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Segments that are generated. They go through a stage again and again.
const KEPT: u64 = 2_048;
/// The most batches that a run may have.
const MOST: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [stage, count] = arguments.as_slice() else { bail!("usage: count_instructions <stage> <batches>") };
    let count = count.parse()?;
    ensure!(count <= MOST, "at most {MOST} batches");
    let (keep, kept) = mpsc::channel();
    generate(KEPT, Pace::Fixed, move |encoded| Ok(keep.send(encoded.clone())?)).await?;
    let encoded: Vec<Encoded> = kept.iter().collect();
    // As the ClickHouse exporter asks for them.
    let projection = Projection::of(&Demand { id_parts: true, ..Demand::everything() });
    let columns =
        || encoded.iter().map(|batch| decode(batch, &projection).columns).collect::<Vec<RecordBatch>>();
    match stage.as_str() {
        "decode" => {
            for batch in encoded.iter().cycle().take(count) {
                std::hint::black_box(decode(batch, &projection));
            }
            Ok(())
        }
        "aggregate" => aggregate::run(&columns(), count),
        "encode" => encode::run(&columns(), count).await,
        _ => bail!("{stage}: not a stage"),
    }
}
