//! What one traced malloc and free cost the target, beside programs that do nothing on the same probes, by the depth
//! of the Python stack. Needs root; `cargo xtask bench` runs it.
//!
//! One target process, on a CPU of its own. Untraced, floor and recorder take turns on it, so that a slow moment of
//! the machine hits all alike; a round is each of them at each depth, and there are more rounds while the figures
//! disagree. Printed: the median of the rounds' best repetitions, in nanoseconds of CPU time of the target's thread
//! per iteration (`bytes(1000)`: one calloc, one free); the ratio to the floor; and the spread of that ratio over the
//! rounds. Then every figure, one to a line, as JSON.
//!
//! `MEMRAY_BENCH_PYTHON` is the interpreter. `MEMRAY_BENCH_OBJECTS`, separated by colons, are BPF objects of other
//! builds, measured in the same rounds.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table and how far it is"
)]

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memray_user::{
    bpf::{Bounds, Delivery, Order, Recorder, RecorderOptions, Scope},
    session::prepare_process,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde_json::json;

/// Reads a depth, answers with nanoseconds per iteration: the best of many short repetitions, since whatever disturbs
/// one makes it slower. 2,000 iterations last a few milliseconds, shorter than most disturbances are apart.
const TARGET: &str = "
import sys, time
def measure(n):
    best = None
    for _ in range(40):
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
    print(dive(depth - 3, 2000), flush=True)
";
const DEPTHS: [u32; 5] = [5, 10, 30, 100, 230];
const MIN_ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 15;
/// No further round is begun after this long.
const MAX_TIME: Duration = Duration::from_secs(90);
/// More rounds are run while the middle half of the rounds' ratios is wider than this at any depth.
const GOOD_SPREAD: f64 = 0.03;

struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    fn start(python: &OsStr) -> Result<Self> {
        // Before others that want its CPU; `nice` becomes the program that it is given.
        let mut child = Command::new("nice")
            .args(["-n", "-20"])
            .arg(python)
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
        line.trim()
            .parse()
            .with_context(|| format!("the target answered `{line}`"))
    }

    fn end(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait()?;
        Ok(())
    }
}

/// What the probes run.
enum Programs {
    Untraced,
    Floor,
    BuiltIn,
    Other(Vec<u8>),
}

/// One column of the table.
struct Variant {
    name: String,
    programs: Programs,
    /// By depth, then by round.
    figures: Vec<Vec<f64>>,
}

impl Variant {
    fn new(name: impl Into<String>, programs: Programs) -> Self {
        Self {
            name: name.into(),
            programs,
            figures: vec![Vec::new(); DEPTHS.len()],
        }
    }

    fn measure(&mut self, target: &mut Target) -> Result<()> {
        let recorder = match &self.programs {
            Programs::Untraced => None,
            Programs::Floor => Some(Recorder::load_floor()?),
            Programs::BuiltIn => Some(Recorder::load(OPTIONS)?),
            Programs::Other(object) => Some(Recorder::load_object(object, OPTIONS)?),
        };
        let figures = match recorder {
            Some(recorder) => measure_traced(target, &recorder)?,
            None => measure_all(target)?,
        };
        for (rounds, figure) in self.figures.iter_mut().zip(figures) {
            rounds.push(figure);
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let python = env::var_os("MEMRAY_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let mut target = Target::start(&python)?;
    separate(&target.child)?;
    let mut variants = variants()?;
    let (mut rounds, mut spread, since) = (0, 1.0, Instant::now());
    while rounds < MIN_ROUNDS || (spread > GOOD_SPREAD && rounds < MAX_ROUNDS && since.elapsed() < MAX_TIME) {
        for variant in &mut variants {
            variant.measure(&mut target)?;
        }
        rounds += 1;
        spread = widest_spread(&variants);
        eprintln!(
            "round {rounds}: the ratios differ by {:.1} % at most",
            spread * 100.0
        );
    }
    println!("{}", describe(&python)?);
    println!("{rounds} rounds; ns of CPU time for one calloc and one free\n");
    print_table(&variants);
    println!();
    print_figures(&variants);
    target.end()
}

/// Untraced and floor first, then what is measured against them.
fn variants() -> Result<Vec<Variant>> {
    let mut variants = vec![
        Variant::new("untraced", Programs::Untraced),
        Variant::new("floor", Programs::Floor),
        Variant::new("recorded", Programs::BuiltIn),
    ];
    let objects: Vec<PathBuf> = env::var_os("MEMRAY_BENCH_OBJECTS")
        .filter(|paths| !paths.is_empty())
        .map(|paths| env::split_paths(&paths).collect())
        .unwrap_or_default();
    for path in objects {
        let object = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        variants.push(Variant::new(name, Programs::Other(object)));
    }
    Ok(variants)
}

/// Gives the target the last CPU that we may use and keeps the others for ourselves.
fn separate(target: &Child) -> Result<()> {
    let allowed = sched_getaffinity(Pid::this())?;
    let cpus: Vec<usize> = (0..CpuSet::count())
        .filter(|&cpu| allowed.is_set(cpu).unwrap_or(false))
        .collect();
    let (&last, others) = cpus.split_last().context("a process may use one CPU at least")?;
    ensure!(
        !others.is_empty(),
        "the target and the collector need a CPU each, and there is one CPU"
    );
    let (mut for_target, mut for_us) = (CpuSet::new(), CpuSet::new());
    for_target.set(last)?;
    for &cpu in others {
        for_us.set(cpu)?;
    }
    let pid = Pid::from_raw(target.id().try_into()?);
    sched_setaffinity(pid, &for_target)?;
    sched_setaffinity(Pid::this(), &for_us)?;
    Ok(())
}

fn measure_all(target: &mut Target) -> Result<Vec<f64>> {
    DEPTHS.iter().map(|depth| target.measure(*depth)).collect()
}

const OPTIONS: RecorderOptions = RecorderOptions {
    delivery: Delivery::Lossless,
    bounds: Bounds::DEFAULT,
    follow_children: false,
    may_start_threads: true,
};

fn measure_traced(target: &mut Target, recorder: &Recorder) -> Result<Vec<f64>> {
    let pid = target.child.id();
    let (config, sites) = prepare_process(pid)?;
    let mut processes = recorder.take_processes()?;
    let life = processes.new_life();
    processes.set_target(pid, &config, life)?;
    let _links = recorder
        .linker()
        .attach(Scope::Process(pid), &sites, Order::Running)?;
    let mut ring = recorder.take_ring()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let end = ring.end();
                ring.drain(u64::MAX, end, |_| {});
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        let figures = measure_all(target);
        is_over.store(true, Ordering::Relaxed);
        figures
    })
}

fn floor(variants: &[Variant]) -> &Variant {
    &variants[1]
}

/// Those that have a ratio to the floor.
fn recorded(variants: &[Variant]) -> &[Variant] {
    &variants[2..]
}

/// Lower quartile, median and upper quartile of the rounds' ratios to the floor.
fn ratios(variant: &Variant, floor: &Variant, depth: usize) -> [f64; 3] {
    let pairs = variant.figures[depth].iter().zip(&floor.figures[depth]);
    quartiles(pairs.map(|(figure, floor)| figure / floor).collect())
}

fn widest_spread(variants: &[Variant]) -> f64 {
    let floor = floor(variants);
    let spreads = recorded(variants).iter().flat_map(|variant| {
        (0..DEPTHS.len()).map(move |depth| {
            let [low, median, high] = ratios(variant, floor, depth);
            (high - low) / median
        })
    });
    spreads.fold(0.0, f64::max)
}

fn print_table(variants: &[Variant]) {
    print!("{:>6}", "frames");
    for variant in variants {
        print!(" {:>12}", variant.name);
    }
    for variant in recorded(variants) {
        print!("  {:>22}", format!("{} / floor", variant.name));
    }
    println!();
    for (index, depth) in DEPTHS.into_iter().enumerate() {
        print!("{depth:>6}");
        for variant in variants {
            let [_, median, _] = quartiles(variant.figures[index].clone());
            print!(" {median:>12.0}");
        }
        for variant in recorded(variants) {
            let [low, median, high] = ratios(variant, floor(variants), index);
            print!("  {:>22}", format!("{median:.2} [{low:.2} - {high:.2}]"));
        }
        println!();
    }
}

fn print_figures(variants: &[Variant]) {
    for variant in variants {
        for (depth, figures) in DEPTHS.into_iter().zip(&variant.figures) {
            for (round, ns) in figures.iter().enumerate() {
                println!(
                    "{}",
                    json!({"variant": variant.name, "frames": depth, "round": round, "ns": ns})
                );
            }
        }
    }
}

/// Interpreter, kernel and processor.
fn describe(python: &OsString) -> Result<String> {
    let version = Command::new(python)
        .args(["-c", "import platform; print(platform.python_version())"])
        .output()
        .with_context(|| format!("failed to start `{}`", python.display()))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, model)| model.trim());
    Ok(format!(
        "CPython {} (`{}`), Linux {}, {model}",
        String::from_utf8_lossy(&version.stdout).trim(),
        python.display(),
        kernel.trim()
    ))
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let index = values.len().saturating_sub(1) * quarter / 4;
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    [at(1), at(2), at(3)]
}
