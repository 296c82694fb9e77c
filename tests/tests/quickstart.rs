//! `weir quickstart`: windows and alarms on the terminal, and stored results that `weir query` shows.

use anyhow::Result;
use weir_tests::Weir;

#[test]
fn the_quickstart_shows_windows_and_an_alarm_that_fires_and_resolves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let data = data.to_str().unwrap_or_default();
    let run = Weir::run_command(&["quickstart", "--seconds", "40", "--data", data], &[])?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("ALARM firing"), "{}", run.stdout);
    assert!(run.stdout.contains("ALARM resolved"), "{}", run.stdout);
    let hint = run.stdout.lines().find(|line| line.contains("weir query")).unwrap_or_default();
    assert!(hint.contains(&format!("--data {data}")), "the printed command can be pasted: {hint}");

    let query = |sql: &str| -> Result<String> {
        let done = Weir::run_command(&["query", "--data", data, "--format", "csv", sql], &[])?;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        Ok(done.stdout)
    };
    let spans: u64 = query("SELECT count(*) AS n FROM traces")?.lines().nth(1).unwrap_or("0").parse()?;
    assert!(spans > 50_000, "200 segments/s of 16 spans for 40 s, only {spans} stored");
    let counted: u64 = query("SELECT sum(count) AS n FROM windows")?.lines().nth(1).unwrap_or("0").parse()?;
    assert!(counted > 3_000, "{counted}");
    let states = query("SELECT DISTINCT state FROM alarms ORDER BY state")?;
    assert_eq!(states.lines().collect::<Vec<_>>(), ["state", "firing", "resolved"]);
    Ok(())
}
