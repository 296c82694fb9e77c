//! Runs the fuzz body of a parser on damaged inputs, on stable Rust and without coverage.
//!
//! A body gets any bytes and panics when something that must hold does not. Its inputs are seeds (recorded or
//! written by hand) with one to a few [changes](change). A test runs each body for a second; `make fuzz` runs
//! it for `WEIR_FUZZ_SECONDS`.
//!
//! Each input comes from one number. A failure prints it: `WEIR_FUZZ_SEED=…` with the test's name gives the
//! same input again, and nothing else. The input is also written to a file. A body runs in a [child], so that
//! this also holds when it aborts (a stack that is full, no memory) or stands still.

pub mod change;
mod child;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use change::Random;
use child::{Current, End};

/// How long a body may take for one input: a parser that takes longer can be made to stand still.
const LONGEST: Duration = Duration::from_secs(10);
/// No input is larger.
const LARGEST: usize = 64 << 10;

/// Runs `body` on changed seeds. `tokens`: texts that mean something to the parser; none for binary formats.
///
/// # Panics
/// When the body does, aborts, or takes too long for one input.
pub fn fuzz(name: &str, seeds: &[Vec<u8>], tokens: &[&str], body: impl FnMut(&[u8])) {
    // A body that comes back after LONGEST says so itself.
    fuzz_with(name, seeds, tokens, 2 * LONGEST, body);
}

#[allow(clippy::print_stderr, reason = "of a test")]
fn fuzz_with(
    name: &str,
    seeds: &[Vec<u8>],
    tokens: &[&str],
    patience: Duration,
    mut body: impl FnMut(&[u8]),
) {
    assert!(!seeds.is_empty(), "{name} has no seeds");
    if let Some(seed) = number("WEIR_FUZZ_SEED") {
        run(name, seed, &input(seed, seeds, tokens), &mut body);
        return;
    }
    let mut current = Current::of_child();
    if current.is_none()
        && let Some((end, said, seed)) = child::run(name, patience)
    {
        eprint!("{said}");
        let why = match end {
            End::Well => return,
            // The test of the child has printed what repeats it.
            End::Badly(status) if status.code().is_some() => panic!("fuzz {name}: see above"),
            End::Badly(status) => format!("the process ended with {status}"),
            End::Stood => format!("one input took more than {patience:?}, and the process was ended"),
        };
        let repeats = seed.map(|seed| keep(name, seed, &input(seed, seeds, tokens)));
        panic!("fuzz {name}: {why}; {}", repeats.unwrap_or_else(|| "it had tried no input".to_owned()));
    }
    let mut at = |seed| current.iter_mut().for_each(|current| current.is(seed));
    let time = Duration::from_secs(number("WEIR_FUZZ_SECONDS").unwrap_or(1));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut numbers = Random(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX));
    for (seed, bytes) in (0..).zip(seeds) {
        at(seed);
        run(name, seed, bytes, &mut body);
    }
    let (began, mut inputs) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let seed = numbers.number();
        at(seed);
        run(name, seed, &input(seed, seeds, tokens), &mut body);
        inputs += 1;
    }
    eprintln!("fuzz {name}: {inputs} inputs in {:.0?}", began.elapsed());
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The input that comes from this number. The smallest ones are the seeds as they are.
fn input(seed: u64, seeds: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
    if let Some(bytes) = usize::try_from(seed).ok().and_then(|seed| seeds.get(seed)) {
        return bytes.clone();
    }
    let mut random = Random(seed);
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        change::change(&mut bytes, seeds, tokens, &mut random);
        bytes.truncate(LARGEST);
    }
    bytes
}

#[allow(clippy::print_stderr, reason = "of a test")]
fn run(name: &str, seed: u64, bytes: &[u8], body: &mut impl FnMut(&[u8])) {
    let began = Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| body(bytes)));
    let took = began.elapsed();
    if ran.is_ok() && took < LONGEST {
        return;
    }
    eprintln!("fuzz {name}: {}", keep(name, seed, bytes));
    if let Err(panic) = ran {
        resume_unwind(panic);
    }
    panic!("fuzz {name}: {} bytes took {took:?}", bytes.len());
}

/// Writes the input to a file. How it is repeated.
fn keep(name: &str, seed: u64, bytes: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!("weir-fuzz-{name}-{seed}"));
    let kept =
        std::fs::write(&file, bytes).map_or_else(|error| error.to_string(), |()| file.display().to_string());
    format!("WEIR_FUZZ_SEED={seed} repeats it; the input: {kept}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_number_gives_one_input() {
        let seeds = [b"one seed".to_vec(), b"another".to_vec()];
        for seed in 0..1_000 {
            assert_eq!(input(seed, &seeds, &["{"]), input(seed, &seeds, &["{"]));
        }
        assert_eq!([input(0, &seeds, &[]), input(1, &seeds, &[])], seeds);
        let different: std::collections::BTreeSet<_> =
            (0..1_000).map(|seed| input(seed, &seeds, &[])).collect();
        assert!(different.len() > 700, "{}", different.len());
    }

    #[test]
    fn a_mistake_that_needs_a_token_and_a_cut_is_found() {
        let found = (0..20_000).any(|seed| {
            let bytes = input(seed, &[b"{\"a\": 1}".to_vec()], &["null"]);
            bytes.windows(4).any(|word| word == b"null") && !bytes.ends_with(b"}")
        });
        assert!(found);
    }

    #[test]
    fn a_failure_is_a_failure_of_the_test() {
        let failed = catch_unwind(|| run("test", 7, b"x", &mut |_| panic!("the body")));
        assert_eq!(failed.unwrap_err().downcast_ref::<&str>(), Some(&"the body"));
    }

    /// Runs this in a child, which it takes with it. What is said of it here.
    fn said(name: &str, body: impl FnMut(&[u8])) -> String {
        let patience = Duration::from_secs(2);
        let seeds = [b"one seed".to_vec()];
        let failed = catch_unwind(AssertUnwindSafe(|| fuzz_with(name, &seeds, &[], patience, body)));
        failed.unwrap_err().downcast_ref::<String>().unwrap().clone()
    }

    /// The input that a failure says how to repeat is one that fails.
    fn repeats(said: &str, fails: fn(&[u8]) -> bool) {
        let seed = said.split_once("WEIR_FUZZ_SEED=").unwrap().1.split_once(' ').unwrap().0;
        let again = input(seed.parse().unwrap(), &[b"one seed".to_vec()], &[]);
        assert!(fails(&again), "{said}: {again:?}");
        let kept = said.rsplit_once(' ').unwrap().1;
        assert_eq!(std::fs::read(kept).unwrap(), again);
        std::fs::remove_file(kept).unwrap();
    }

    #[test]
    fn an_abort_says_what_repeats_it() {
        let fails = |bytes: &[u8]| bytes.len() > 12;
        let said = said("test-abort", |bytes| {
            if fails(bytes) {
                std::process::abort();
            }
        });
        assert!(said.contains("signal: 6"), "{said}");
        repeats(&said, fails);
    }

    #[test]
    fn a_body_that_stands_still_is_ended_and_says_what_repeats_it() {
        let fails = |bytes: &[u8]| bytes.len() > 12;
        let said = said("test-stand", |bytes| {
            while fails(bytes) {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        assert!(said.contains("took more than 2s"), "{said}");
        repeats(&said, fails);
    }
}
