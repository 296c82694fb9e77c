//! Runs the fuzz body of a parser on damaged inputs, on stable Rust and without coverage.
//!
//! A body gets any bytes and panics when something that must hold does not. Its inputs are seeds (recorded or
//! written by hand) with one to a few [changes](change). A test runs each body for a second; `make fuzz` runs
//! it for `WEIR_FUZZ_SECONDS`.
//!
//! Each input comes from one number. A failure prints it: `WEIR_FUZZ_SEED=…` with the test's name gives the
//! same input again, and nothing else. The input is also written to a file.

pub mod change;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use change::Random;

/// How long a body may take for one input: a parser that takes longer can be made to stand still.
const LONGEST: Duration = Duration::from_secs(10);
/// No input is larger.
const LARGEST: usize = 64 << 10;

/// Runs `body` on changed seeds. `tokens`: texts that mean something to the parser; none for binary formats.
///
/// # Panics
/// When the body does, or takes too long for one input.
#[allow(clippy::print_stderr, reason = "of a test")]
pub fn fuzz(name: &str, seeds: &[Vec<u8>], tokens: &[&str], mut body: impl FnMut(&[u8])) {
    assert!(!seeds.is_empty(), "{name} has no seeds");
    if let Some(seed) = number("WEIR_FUZZ_SEED") {
        run(name, seed, &input(seed, seeds, tokens), &mut body);
        return;
    }
    let time = Duration::from_secs(number("WEIR_FUZZ_SECONDS").unwrap_or(1));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut numbers = Random(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX));
    for seed in seeds {
        run(name, 0, seed, &mut body);
    }
    let (began, mut inputs) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let seed = numbers.number();
        run(name, seed, &input(seed, seeds, tokens), &mut body);
        inputs += 1;
    }
    eprintln!("fuzz {name}: {inputs} inputs in {:.0?}", began.elapsed());
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The input that comes from this number.
fn input(seed: u64, seeds: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
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
    let file = std::env::temp_dir().join(format!("weir-fuzz-{name}-{seed}"));
    let kept =
        std::fs::write(&file, bytes).map_or_else(|error| error.to_string(), |()| file.display().to_string());
    eprintln!("fuzz {name}: WEIR_FUZZ_SEED={seed} repeats it (0: a seed as it is); the input: {kept}");
    if let Err(panic) = ran {
        resume_unwind(panic);
    }
    panic!("fuzz {name}: {} bytes took {took:?}", bytes.len());
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
}
