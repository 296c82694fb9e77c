//! A process of its own for a body, so that one that aborts or stands still takes only that process with it:
//! what it stood at is known here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The file with the number of the input that is tried, in the environment of the child.
const CURRENT: &str = "WEIR_FUZZ_CURRENT";
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Two numbers of 20 digits: how many inputs there were, and that of this one.
const LENGTH: usize = 41;

/// Where the child writes down at which input it is.
pub(crate) struct Current {
    file: File,
    count: u64,
}

impl Current {
    /// `None`: this is no child.
    pub(crate) fn of_child() -> Option<Current> {
        let path = std::env::var_os(CURRENT)?;
        Some(Current { file: File::options().write(true).open(path).ok()?, count: 0 })
    }

    /// The input of this number is tried next.
    pub(crate) fn is(&mut self, seed: u64) {
        self.count += 1;
        // Without it a failure could not be repeated: that is all.
        let _ = self.file.write_all_at(format!("{:020} {seed:020}", self.count).as_bytes(), 0);
    }
}

/// How a child ended.
pub(crate) enum End {
    /// Everything held.
    Well,
    /// It ended with this status. Its test has said why, unless a signal ended it.
    Badly(ExitStatus),
    /// It stood at one input for too long, and was ended.
    Stood,
}

/// Runs the test that this thread runs in a child. How it ended, what it said, and the number of its last
/// input. `None`: it cannot be told which test that is.
pub(crate) fn run(name: &str, patience: Duration) -> Option<(End, String, Option<u64>)> {
    let thread = std::thread::current();
    let test = thread.name().filter(|test| *test != "main")?;
    let file = |what: &str| -> PathBuf {
        std::env::temp_dir().join(format!("weir-fuzz-{name}-{}.{what}", std::process::id()))
    };
    let (current, said) = (file("current"), file("said"));
    std::fs::write(&current, "").ok()?;
    let child = Command::new(std::env::current_exe().ok()?)
        .args([test, "--exact", "--nocapture"])
        .env(CURRENT, &current)
        .stdout(Stdio::null())
        .stderr(File::create(&said).ok()?)
        .spawn();
    let end = child.ok().and_then(|child| wait(child, &current, patience));
    let seed = std::fs::read(&current).ok().and_then(|bytes| seed(&bytes));
    let text = std::fs::read(&said).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let _ = (std::fs::remove_file(&current), std::fs::remove_file(&said));
    Some((end?, text.unwrap_or_default(), seed))
}

fn wait(mut child: Child, current: &PathBuf, patience: Duration) -> Option<End> {
    let (mut last, mut since) = (Vec::new(), Instant::now());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Some(End::Well),
            Ok(Some(status)) => return Some(End::Badly(status)),
            Ok(None) => std::thread::sleep(LOOK),
            Err(_) => return None,
        }
        let now = std::fs::read(current).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if !last.is_empty() && since.elapsed() > patience {
            let _ = (child.kill(), child.wait());
            return Some(End::Stood);
        }
    }
}

fn seed(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == LENGTH)?;
    text.split_once(' ')?.1.parse().ok()
}
