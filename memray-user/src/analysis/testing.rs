//! Captures built row by row, for the tests of `analysis` and `report`.

use rustc_hash::FxHashMap;

use crate::model::{
    Allocator, CaptureError, CaptureMetadata, CaptureSource, FrameKind, FrameRow, LossRow, ProcessRow, SiteFigures,
    SizeHistogramRow, StackRow, StateRow, ThreadRow, TimelineRow, View,
};

/// A frame as tests write it: function, file, line. Without a file it is a marker, and native in an `.so`.
pub(crate) type TestFrame<'text> = (&'text str, &'text str, u32);

/// A capture in memory. `allocate` interns as the recorder does; the rows are open to tests that need odd ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureBuilder {
    pub(crate) metadata: CaptureMetadata,
    pub(crate) frames: Vec<FrameRow>,
    pub(crate) stacks: Vec<StackRow>,
    /// Answers to [`View::HighWaterMark`] and [`View::All`].
    pub(crate) sites: Vec<SiteFigures>,
    pub(crate) leaks: Vec<SiteFigures>,
    pub(crate) temporary: Vec<SiteFigures>,
    pub(crate) timeline: Vec<TimelineRow>,
    pub(crate) histogram: Vec<SizeHistogramRow>,
    pub(crate) losses: Vec<LossRow>,
    frame_ids: FxHashMap<(String, String, u32), u32>,
    stack_ids: FxHashMap<(Option<u32>, u32), u32>,
}

impl CaptureBuilder {
    /// A finished capture of one process and one thread in which nothing was allocated.
    pub(crate) fn new() -> Self {
        let process = ProcessRow {
            process_id: 1,
            pid: 4242,
            command_line: "python3 example.py".to_owned(),
            executable: "/usr/bin/python3".to_owned(),
            python_version: "3.12.1".to_owned(),
            python_allocator: "pymalloc".to_owned(),
            ..ProcessRow::default()
        };
        let metadata = CaptureMetadata {
            command_line: "python3 example.py".to_owned(),
            started_at_ms: 1_767_323_045_678,
            ended_at_ms: Some(1_767_323_048_178),
            finished: true,
            memray_version: "0.1.0".to_owned(),
            kernel_release: "6.1.0".to_owned(),
            entries: Vec::new(),
            processes: vec![process],
            threads: vec![ThreadRow { thread_id: 1, process_id: 1, tid: 4242, name: "MainThread".to_owned() }],
            states: vec![StateRow { process_id: 1, ..StateRow::default() }],
        };
        Self { metadata, ..Self::default() }
    }

    /// `count` allocations of `bytes` in all, by malloc in thread 1; frames from the outermost.
    pub(crate) fn allocate(&mut self, frames: &[TestFrame<'_>], bytes: u64, count: u64) -> SiteFigures {
        self.allocate_by(Allocator::Malloc, frames, bytes, count)
    }

    pub(crate) fn allocate_by(
        &mut self,
        allocator: Allocator,
        frames: &[TestFrame<'_>],
        bytes: u64,
        count: u64,
    ) -> SiteFigures {
        let stack_id = self.stack(frames);
        let site = SiteFigures { stack_id, thread_id: 1, allocator, bytes, count };
        self.sites.push(site);
        let state = &mut self.metadata.states[0];
        state.alloc_count += count;
        state.alloc_bytes += bytes;
        state.peak_bytes += bytes;
        state.peak_count += count;
        state.live_bytes += bytes;
        let size = bytes / count.max(1);
        state.min_size = if state.alloc_count == count { size } else { state.min_size.min(size) };
        state.max_size = state.max_size.max(size);
        state.peak_ts = 1_500_000_000;
        state.last_ts = 2_400_000_000;
        self.histogram.push(histogram_row(size, allocator, count, bytes));
        site
    }

    /// The identifier of a stack; 0, which no stack has, for no frames.
    pub(crate) fn stack(&mut self, frames: &[TestFrame<'_>]) -> u32 {
        let mut parent_id = None;
        for (depth, &(function, file, line)) in (1..).zip(frames) {
            let frame_id = self.frame(function, file, line);
            let next = u32::try_from(self.stacks.len()).unwrap() + 1;
            let stack_id = *self.stack_ids.entry((parent_id, frame_id)).or_insert(next);
            if stack_id == next {
                self.stacks.push(StackRow { stack_id, parent_id, frame_id, depth });
            }
            parent_id = Some(stack_id);
        }
        parent_id.unwrap_or(0)
    }

    pub(crate) fn lose(&mut self, kind: &str, reason: &str, events: u64, bytes: u64, description: &str) {
        self.losses.push(LossRow {
            process_id: None,
            reason: reason.to_owned(),
            kind: kind.to_owned(),
            events,
            bytes,
            description: description.to_owned(),
        });
    }

    fn frame(&mut self, function: &str, file: &str, line: u32) -> u32 {
        let next = u32::try_from(self.frames.len()).unwrap() + 1;
        let key = (function.to_owned(), file.to_owned(), line);
        let frame_id = *self.frame_ids.entry(key).or_insert(next);
        if frame_id == next {
            let kind = match file {
                "" => FrameKind::Marker,
                _ if file.ends_with(".so") => FrameKind::Native,
                _ => FrameKind::Python,
            };
            let (function, file) = (function.to_owned(), file.to_owned());
            self.frames.push(FrameRow { frame_id, function, file, line, kind });
        }
        frame_id
    }
}

impl CaptureSource for CaptureBuilder {
    fn metadata(&self) -> Result<CaptureMetadata, CaptureError> {
        Ok(self.metadata.clone())
    }

    fn frames(&self) -> Result<Vec<FrameRow>, CaptureError> {
        Ok(self.frames.clone())
    }

    fn stacks(&self) -> Result<Vec<StackRow>, CaptureError> {
        Ok(self.stacks.clone())
    }

    fn sites(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError> {
        Ok(match view {
            View::HighWaterMark | View::All => self.sites.clone(),
            View::Leaks => self.leaks.clone(),
            View::Temporary { .. } => self.temporary.clone(),
        })
    }

    fn timeline(&self) -> Result<Vec<TimelineRow>, CaptureError> {
        Ok(self.timeline.clone())
    }

    fn size_histogram(&self) -> Result<Vec<SizeHistogramRow>, CaptureError> {
        Ok(self.histogram.clone())
    }

    fn losses(&self) -> Result<Vec<LossRow>, CaptureError> {
        Ok(self.losses.clone())
    }
}

/// Ten sites of a small program, with leaks and temporary allocations among them.
pub(crate) fn small() -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let run = ("_run_code", "<frozen runpy>", 88);
    let module = ("<module>", "/home/user/example.py", 37);
    let main = |line| ("main", "/home/user/example.py", line);
    let leaf = ("leaf", "/home/user/example.py", 8);
    let import = ("_find_and_load", "<frozen importlib._bootstrap>", 1360);
    let loads = ("loads", "/usr/lib/python3.12/json/__init__.py", 346);
    let array = ("array", "/usr/lib/python3.12/site-packages/numpy/core/numeric.py", 12);
    builder.allocate(&[run, module, main(27), ("middle", "/home/user/example.py", 11), leaf], 15_000_000, 3);
    let list = builder.allocate(&[run, module, main(30), ("build_list", "/home/user/example.py", 20)], 8_448_728, 1);
    builder.allocate_by(Allocator::Mmap, &[run, module, main(33), array], 4_194_304, 1);
    let thread = [("_bootstrap", "/usr/lib/python3.12/threading.py", 1030), ("work", "/home/user/example.py", 14), leaf];
    builder.allocate(&thread, 3_000_000, 2);
    let parsed = builder.allocate_by(Allocator::Realloc, &[run, module, main(35), loads], 90_500, 108);
    builder.allocate(&[run, module, import], 12_288, 12);
    builder.allocate_by(Allocator::Calloc, &[run, module, main(36)], 2_345, 5);
    builder.allocate(&[("<no Python frame>", "", 0)], 258, 1);
    builder.allocate(&[run], 64, 1);
    builder.allocate(&[], 1, 1);
    builder.leaks = vec![SiteFigures { bytes: 8_000_000, ..list }];
    builder.temporary = vec![SiteFigures { bytes: 40_000, count: 50, ..parsed }];
    for (ts, live_bytes, max_bytes) in [(0, 5_000_000, 6_000_000), (1_500_000_000, 20_000_000, 30_748_488), (2_400_000_000, 8_000_000, 20_000_000)] {
        builder.timeline.push(TimelineRow { process_id: 1, ts, live_bytes, max_bytes, ..TimelineRow::default() });
    }
    builder
}

/// A recording that was cut off and lost events.
pub(crate) fn unfinished() -> CaptureBuilder {
    let mut builder = small();
    builder.metadata.ended_at_ms = None;
    builder.metadata.finished = false;
    builder.metadata.states[0].startup_count = 1200;
    builder.metadata.states[0].startup_bytes = 3_400_000;
    builder.lose("lost", "allocation_ring_full", 12, 3000, "allocations that found the ring full and are missing");
    builder.lose("degraded", "stack_fault", 1, 0, "stacks that could not be read to their end");
    builder.lose("neutral", "failed_call", 7, 0, "calls that returned no memory");
    builder
}

/// Names that try to break out of every format.
pub(crate) fn hostile() -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let long = "long_name_".repeat(500);
    builder.metadata.command_line = "python3 </title><script>alert(1)</script> \u{1b}[31m".to_owned();
    builder.metadata.threads[0].name = "</script><b>thread".to_owned();
    let outer = ("</script><img src=x onerror=alert(1)>", "/tmp/<b>;file\".py", 1);
    builder.allocate(&[outer, ("\u{202e}gnp.evil", "\u{2066}rtl\u{2069}.py", 2)], 5000, 5);
    builder.allocate(&[outer, ("שלום عالم 🙂 👩\u{200d}🚀", "/tmp/emoji 🙂.py", 3)], 4000, 4);
    builder.allocate(&[outer, ("esc\u{1b}]0;owned\u{7}\u{1b}[2J\r\nnewline\tTab\u{9b}31m\0", "/tmp/a\nb.py", 4)], 3000, 3);
    builder.allocate(&[outer, (&long, "/tmp/long.py", u32::MAX)], 2000, 2);
    builder.allocate(&[outer, ("a;b c 12;", "x;y.py", 5), ("", "/tmp/empty.py", 6)], 1000, 1);
    builder.leaks.clone_from(&builder.sites);
    builder.temporary.clone_from(&builder.sites);
    builder.lose("lost", "</script>", 1, 0, "\u{1b}[31m<img src=x onerror=alert(2)>\u{2028}");
    builder
}

/// A recursion of `depth` frames with ten bytes allocated in each.
pub(crate) fn deep(depth: usize) -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let frames = vec![("recurse", "/home/user/deep.py", 3); depth];
    let leaf = builder.allocate(&frames, 10, 1);
    for stack_id in 1..leaf.stack_id {
        builder.sites.push(SiteFigures { stack_id, ..leaf });
    }
    builder.leaks.clone_from(&builder.sites);
    builder
}

/// A program of about `leaves` stacks, 8 to 32 deep, in some hundred files, from a fixed seed.
pub(crate) fn realistic(leaves: usize) -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let folders = [
        "/home/user/shop/orders",
        "/home/user/shop/web",
        "/usr/lib/python3.12/json",
        "/usr/lib/python3.12/asyncio",
        "/opt/venv/lib/python3.12/site-packages/django/db",
        "/opt/venv/lib/python3.12/site-packages/numpy/core",
        "/opt/venv/lib/python3.12/site-packages/pandas/io",
    ];
    let names: Vec<(String, String)> = (0..leaves.clamp(200, 3000))
        .map(|number| {
            let folder = folders[number * number % folders.len()];
            let function = ["load", "parse", "render", "Row.build", "Cache.get", "encode", "<listcomp>"][number % 7];
            (format!("{function}_{number}"), format!("{folder}/module_{}.py", number % 97))
        })
        .collect();
    let mut path: Vec<TestFrame<'_>> = vec![("_run_code", "<frozen runpy>", 88), ("<module>", "/home/user/shop/main.py", 12)];
    let mut ts = 0;
    let mut live: u64 = 2_000_000;
    for leaf in 0..leaves {
        let keep = 2 + usize::try_from(random(path.len() as u64 - 1)).unwrap();
        path.truncate(keep.min(path.len()));
        for _ in 0..1 + random(8) {
            if path.len() < 32 {
                let caller = path.len() as u64 * 31 + u64::from(path[path.len() - 1].2);
                let (function, file) = &names[usize::try_from((caller * 7 + random(6)) % names.len() as u64).unwrap()];
                path.push((function, file, 1 + u32::try_from(random(400)).unwrap()));
            }
        }
        let size = 16 << random(14);
        let count = 1 + random(40);
        builder.allocate(&path, size * count + random(15), count);
        if leaf % leaves.div_ceil(3000) == 0 {
            ts += 10_000_000;
            live = (live + random(400_000)).saturating_sub(random(380_000));
            let max_bytes = live + random(200_000);
            let rss_bytes = Some(40_000_000 + live);
            builder.timeline.push(TimelineRow { process_id: 1, ts, live_bytes: live, max_bytes, rss_bytes, ..TimelineRow::default() });
        }
    }
    let state = &mut builder.metadata.states[0];
    state.peak_ts = ts / 2;
    state.last_ts = ts;
    builder.leaks = builder.sites.iter().copied().step_by(7).collect();
    builder.temporary = builder.sites.iter().copied().step_by(5).collect();
    builder
}

/// The histogram a recording of these sizes has.
pub(crate) fn histogram_rows(sizes: &[u64]) -> Vec<SizeHistogramRow> {
    sizes.iter().map(|&size| histogram_row(size, Allocator::Malloc, 1, size)).collect()
}

fn histogram_row(size: u64, allocator: Allocator, alloc_count: u64, alloc_bytes: u64) -> SizeHistogramRow {
    let width = if size < 128 { 1 } else { 1 << (size.ilog2() - 6) };
    let size_from = size / width * width;
    SizeHistogramRow { process_id: 1, size_from, size_to: size_from + width - 1, allocator, alloc_count, alloc_bytes }
}
