//! A capture of several processes: a server that was attached to, two workers that it forked, and a program that one
//! of them became.

use super::{CaptureBuilder, TestFrame, histogram_row};
use crate::model::{
    Allocator, ProcessId, ProcessOrigin, ProcessRow, SiteFigures, StateRow, ThreadRow, TimelineRow,
};

const MS: u64 = 1_000_000;

pub(crate) fn prefork() -> CaptureBuilder {
    let mut builder = CaptureBuilder::new();
    let main: TestFrame<'_> = ("main", "/srv/server.py", 30);
    let serve = [main, ("serve", "/srv/server.py", 12)];
    "/usr/bin/python3.12 server.py --workers 2".clone_into(&mut builder.metadata.command_line);
    builder.metadata.processes.clear();
    builder.metadata.threads.clear();
    builder.metadata.states.clear();
    let server = builder.process(700, ProcessOrigin::Attached, None, [0, 0]);
    builder.process(701, ProcessOrigin::Forked, Some(server), [100 * MS, 2000 * MS]);
    let worker = builder.process(702, ProcessOrigin::Forked, Some(server), [110 * MS, 900 * MS]);
    let other = builder.process(702, ProcessOrigin::Executed, Some(worker), [900 * MS, 1900 * MS]);
    builder.metadata.processes[0].ended_ns = None;
    builder.metadata.processes[1].exit_status = Some(0);
    let row = &mut builder.metadata.processes[3];
    row.exit_status = Some(139);
    row.python_version.clear();
    row.python_allocator.clear();
    "/usr/bin/convert --fast picture.png".clone_into(&mut row.command_line);
    "/usr/bin/convert".clone_into(&mut row.executable);
    builder.hold(1, &[main, ("load", "/srv/server.py", 20)], 8_000_000, 2);
    builder.hold(1, &[main], 1_000_000, 1);
    builder.hold(2, &serve, 4_000_000, 40);
    builder.hold(worker, &serve, 2_000_000, 20);
    builder.hold(other, &[("<no Python frame>", "", 0)], 500_000, 5);
    builder.leaks = vec![
        builder.sites[0],
        SiteFigures {
            bytes: 100_000,
            count: 1,
            ..builder.sites[2]
        },
    ];
    builder.temporary = vec![builder.sites[3]];
    builder
}

impl CaptureBuilder {
    /// Adds a process with a thread of its number.
    fn process(
        &mut self,
        pid: u32,
        origin: ProcessOrigin,
        parent_process_id: Option<ProcessId>,
        [started_ns, ended_ns]: [u64; 2],
    ) -> ProcessId {
        let process_id = ProcessId::try_from(self.metadata.processes.len()).unwrap() + 1;
        self.metadata.processes.push(ProcessRow {
            process_id,
            pid,
            parent_process_id,
            command_line: "/usr/bin/python3.12 server.py --workers 2".to_owned(),
            executable: "/usr/bin/python3.12".to_owned(),
            python_version: "3.12.1".to_owned(),
            python_allocator: "pymalloc".to_owned(),
            started_ns,
            ended_ns: Some(ended_ns),
            origin,
            ..ProcessRow::default()
        });
        self.metadata.threads.push(ThreadRow {
            thread_id: process_id,
            process_id,
            tid: pid,
            name: "MainThread".to_owned(),
        });
        self.metadata.states.push(StateRow {
            process_id,
            ..StateRow::default()
        });
        process_id
    }

    /// What the process holds from 10 ms after its start on.
    fn hold(&mut self, process_id: ProcessId, frames: &[TestFrame<'_>], bytes: u64, count: u64) {
        let stack_id = self.stack(frames);
        let allocator = Allocator::Malloc;
        self.sites.push(SiteFigures {
            stack_id,
            thread_id: process_id,
            allocator,
            bytes,
            count,
        });
        let place = usize::try_from(process_id).unwrap() - 1;
        let ts = self.metadata.processes[place].started_ns + 10 * MS;
        let state = &mut self.metadata.states[place];
        let size = bytes / count;
        state.min_size = if state.alloc_count == 0 {
            size
        } else {
            state.min_size.min(size)
        };
        state.max_size = state.max_size.max(size);
        state.alloc_count += count;
        state.alloc_bytes += bytes;
        (state.live_count, state.live_bytes) = (state.alloc_count, state.alloc_bytes);
        (state.peak_count, state.peak_bytes) = (state.alloc_count, state.alloc_bytes);
        (state.peak_ts, state.last_ts) = (ts, ts);
        self.histogram.push(crate::model::SizeHistogramRow {
            process_id,
            ..histogram_row(size, allocator, count, bytes)
        });
        let (live_bytes, live_count) = (state.live_bytes, state.live_count);
        let row = TimelineRow {
            process_id,
            ts: ts + 10 * MS * (self.timeline.len() as u64),
            live_bytes,
            live_count,
            max_bytes: live_bytes,
            rss_bytes: Some(20_000_000 + live_bytes),
            ..TimelineRow::default()
        };
        self.timeline.push(row);
        self.timeline.sort_by_key(|row| (row.ts, row.process_id));
    }
}
