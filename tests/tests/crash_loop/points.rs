//! A crash at each place between the decision to export and the end of the commit
//! (`weir_component::failpoint`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::{ClickHouse, Kafka, Weir};

use crate::chaos::Trouble;
use crate::{Case, TIMEOUT};

/// How often `before-mark` is reached before each end. On a fast machine one commit has the marks of all
/// windows.
const MARKS: &[u32] = &[1, 1, 1];

/// The program ends at `place` when it comes there for the `count`th time, is started again, and everything
/// is right.
async fn crash_at(clickhouse: &ClickHouse, place: &str, counts: &[u32], trouble: Trouble) -> Result<()> {
    let to = (Kafka::shared()?, clickhouse);
    let case = Case::new(to, place, (6_000, 7), "all", trouble).await?;
    let config = case.config();
    let half = case.stream.count() / 2;
    case.produce(case.stream.records(&case.topic, 0..half)).await?;
    let (mut folder, mut killed) = (Arc::new(tempfile::tempdir()?), String::new());
    for (round, count) in counts.iter().enumerate() {
        let point = format!("{place}:{count}");
        let weir = Weir::start_in(Arc::clone(&folder), &config, &[], &[("WEIR_FAILPOINT", &point)])?;
        folder = weir.folder();
        if round + 1 == counts.len() {
            case.produce(case.stream.records(&case.topic, half..case.stream.count())).await?;
        }
        let outcome = weir.wait(TIMEOUT).await?;
        ensure!(
            outcome.code.is_none(),
            "{point}: ended with {:?}, not by the failpoint\n{}",
            outcome.code,
            outcome.stderr
        );
        killed += &outcome.stderr;
    }
    let last = Weir::start_in(folder, &config, &[], &[])?;
    case.produce(case.stream.closing(&case.topic)).await?;
    case.verify(vec![last], &killed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_place_of_an_export_or_commit_loses_and_doubles_nothing() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let at = |place| crash_at(&clickhouse, place, &[1, 2, 5], Trouble::default());
    let at_mark = crash_at(&clickhouse, "before-mark", MARKS, Trouble::default());
    let all = tokio::time::timeout(Duration::from_secs(400), async {
        tokio::try_join!(
            at("before-export"),
            at("after-answer"),
            at("after-export"),
            at("before-commit"),
            at("after-commit"),
            at("after-window"),
            at_mark,
        )
    });
    all.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commits_of_several_topics_loses_and_doubles_nothing() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let trouble = Trouble { topics: true, ..Trouble::default() };
    let at = |place| crash_at(&clickhouse, place, &[1, 3, 5], trouble);
    let at_mark = crash_at(&clickhouse, "before-mark", MARKS, trouble);
    let all = tokio::time::timeout(Duration::from_secs(400), async {
        tokio::try_join!(at("before-commit"), at("after-commit"), at("after-export"), at_mark)
    });
    all.await??;
    Ok(())
}
