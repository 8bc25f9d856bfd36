//! What one traced malloc and free cost the target, beside programs that do nothing on the same probes, by the depth
//! of the Python stack. Needs root.
//!
//! One target process; untraced, floor and recorder take turns on it, so that a slow moment of the machine hits all
//! alike. Printed: the median of the rounds' best, nanoseconds of CPU time of the target's thread per iteration
//! (`bytes(1000)`: one calloc, one free), and the ratio to the floor.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use memray_user::{
    bpf::{Delivery, Recorder},
    session::prepare_process,
};

/// Reads a depth, answers with nanoseconds per iteration.
const TARGET: &str = "
import sys, time
def measure(n):
    best = None
    for _ in range(5):
        start = time.thread_time_ns()
        for _ in range(n): bytes(1000)
        took = time.thread_time_ns() - start
        best = took if best is None else min(best, took)
    return best / n
def dive(depth, n):
    return measure(n) if depth <= 0 else dive(depth - 1, n)
sys.setrecursionlimit(10000)
for line in sys.stdin:
    depth = int(line)
    # <module>, dive and measure are frames too.
    print(dive(depth - 3, 20000), flush=True)
";
const DEPTHS: [u32; 5] = [5, 10, 30, 100, 230];
const ROUNDS: usize = 5;

struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    fn start(python: &OsString) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-c", TARGET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", python.display()))?;
        let input = child.stdin.take().context("stdin is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let mut target = Self { child, input, output };
        target.measure(5)?;
        Ok(target)
    }

    fn measure(&mut self, depth: u32) -> Result<f64> {
        writeln!(self.input, "{depth}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

#[derive(Clone, Copy)]
enum Variant {
    Untraced,
    Floor,
    Recorder,
}

fn main() -> Result<()> {
    let python = env::var_os("MEMRAY_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let mut target = Target::start(&python)?;
    let pid = target.child.id();
    let mut results = vec![[const { Vec::new() }; 3]; DEPTHS.len()];
    for _ in 0..ROUNDS {
        for variant in [Variant::Untraced, Variant::Floor, Variant::Recorder] {
            let figures = measure_variant(&mut target, pid, variant)?;
            for (result, figure) in results.iter_mut().zip(figures) {
                result[variant as usize].push(figure);
            }
        }
    }
    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>10}",
        "frames", "untraced ns", "floor ns", "recorded ns", "ratio"
    );
    for (depth, result) in DEPTHS.iter().zip(results) {
        let [untraced, floor, recorded] = result.map(median);
        println!(
            "{depth:>6} {untraced:>12.0} {floor:>12.0} {recorded:>12.0} {:>10.2}",
            recorded / floor
        );
    }
    drop(target.input);
    target.child.wait()?;
    Ok(())
}

fn measure_variant(target: &mut Target, pid: u32, variant: Variant) -> Result<Vec<f64>> {
    let mut measure_all = || {
        DEPTHS
            .iter()
            .map(|depth| target.measure(*depth))
            .collect::<Result<Vec<f64>>>()
    };
    let mut recorder = match variant {
        Variant::Untraced => return measure_all(),
        Variant::Floor => Recorder::load_floor()?,
        Variant::Recorder => Recorder::load(Delivery::Lossless)?,
    };
    let (config, sites) = prepare_process(pid)?;
    recorder.set_target(pid, &config)?;
    recorder.attach(pid, &sites)?;
    let mut ring = recorder.take_ring()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                ring.drain(u64::MAX, |_| {});
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        let figures = measure_all();
        is_over.store(true, Ordering::Relaxed);
        figures
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
