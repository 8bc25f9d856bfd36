//! Runs one target over generated inputs until its time is over.

use std::{
    cell::Cell,
    env,
    fmt::Debug,
    io::Write as _,
    time::{Duration, Instant},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

use super::allocations::peak_bytes;

/// Inputs between two looks at the clock.
const BATCH: u32 = 8;

/// What one input may cost at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Allocated at any moment beyond what was there before.
    pub(crate) memory_bytes: usize,
    /// Processor time in a debug build.
    pub(crate) time: Duration,
}

/// The time of a test, if nothing else is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    Short,
    Long,
}

impl Effort {
    fn time(self) -> Duration {
        let asked = env::var("MEMRAY_FUZZ_SECONDS").ok();
        let asked = asked.map(|text| text.parse().expect("MEMRAY_FUZZ_SECONDS is a number"));
        Duration::from_secs(asked.unwrap_or(match self {
            Self::Short => 2,
            Self::Long => 90,
        }))
    }
}

/// A test and its long sibling. `$check` takes one value of `$strategy`.
macro_rules! fuzz_test {
    ($name:ident, $long:ident, $bounds:expr, $strategy:expr, $check:expr) => {
        #[test]
        fn $name() {
            $crate::tests::hostile::fuzz(stringify!($name), false, $bounds, &$strategy, $check);
        }

        #[test]
        #[ignore = "long"]
        fn $long() {
            $crate::tests::hostile::fuzz(stringify!($long), true, $bounds, &$strategy, $check);
        }
    };
}
pub(crate) use fuzz_test;

/// Feeds `check` with values of `strategy`; prints how many, and on a failure the smallest that fails and its seed.
pub(crate) fn fuzz<S: Strategy>(
    name: &str,
    is_long: bool,
    bounds: Bounds,
    strategy: &S,
    check: impl Fn(S::Value),
) where
    S::Value: Debug,
{
    let effort = if is_long { Effort::Long } else { Effort::Short };
    let (start, time) = (Instant::now(), effort.time());
    let mut seed = first_seed(start);
    let tried = Cell::new(0_u64);
    let largest_bytes = Cell::new(0);
    // Told first: an input that ends the process leaves no other word.
    say(&format!("{name}: MEMRAY_FUZZ_SEED={seed}"));
    loop {
        let mut runner = TestRunner::new(Config {
            cases: BATCH,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_time: 20_000,
            ..Config::default()
        });
        let result = runner.run(strategy, |value| {
            tried.set(tried.get() + 1);
            let before = thread_time();
            let peak = peak_bytes(|| check(value));
            let spent = thread_time().saturating_sub(before);
            largest_bytes.set(largest_bytes.get().max(peak));
            if peak > bounds.memory_bytes {
                return Err(TestCaseError::fail(format!("{peak} bytes of memory at once")));
            }
            if spent > bounds.time {
                return Err(TestCaseError::fail(format!("{spent:?} of time")));
            }
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(reason, value)) => {
                panic!("{name}: {reason}\nMEMRAY_FUZZ_SEED={seed}, smallest input:\n{value:?}")
            }
            Err(error @ TestError::Abort(_)) => panic!("{name}: {error}"),
        }
        if start.elapsed() >= time {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    say(&format!(
        "{name}: {} inputs, at most {} bytes for one",
        tried.get(),
        largest_bytes.get()
    ));
}

fn first_seed(now: Instant) -> u64 {
    let asked = env::var("MEMRAY_FUZZ_SEED").ok();
    asked.map_or_else(
        || {
            use std::hash::{BuildHasher as _, RandomState};
            RandomState::new().hash_one(now)
        },
        |text| text.parse().expect("MEMRAY_FUZZ_SEED is a number"),
    )
}

/// Around the capture of the test harness, which keeps the words of tests that pass to itself.
fn say(text: &str) {
    let _lost = writeln!(std::io::stderr(), "{text}");
}

fn thread_time() -> Duration {
    nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID
        .now()
        .expect("the clock is there on every Linux")
        .into()
}
