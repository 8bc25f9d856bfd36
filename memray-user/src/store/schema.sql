-- The capture file, schema version 3 (PRAGMA user_version, and meta.schema_version).
--
-- One SQLite database holds one recording of one or more processes. The comments below are the reference of its
-- tables; they stay in the file, so `.schema` in sqlite3 shows them. Users build on the views (views.sql); the tables
-- are for questions that no view answers.
--
-- Times (`..._ts`, `..._ns`) are integer nanoseconds since meta.clock_base_ns. Sizes and `..._bytes` are bytes.
-- Numbers named `..._id` count from 1 inside the file; only `pid` and `tid` are the kernel's.
--
-- The DDL keeps to what SQLite 3.25 and DuckDB both read: STRICT anywhere hides the whole file from SQLite before
-- 3.37, and DuckDB scans big tables by rowid, so that they have one.

CREATE TABLE meta( -- What reproduces the recording: the command, options, kernel, versions, time zone, clock base.
  key TEXT NOT NULL PRIMARY KEY, -- Such as memray_version, started_at_ms, finished.
  value TEXT NOT NULL -- Always text, numbers in decimal.
);

CREATE TABLE processes( -- One life of a process: from start, or attach, to exit or exec.
  process_id INTEGER PRIMARY KEY, -- Number of the process in this file.
  pid INTEGER NOT NULL, -- The kernel's process id.
  parent_process_id INTEGER, -- The recorded process that forked this one, or the same pid before exec; NULL if there is none.
  command_line TEXT NOT NULL, -- Arguments, joined as a shell would read them.
  executable TEXT NOT NULL, -- Path of the executable.
  python_version TEXT NOT NULL, -- Such as 3.12.1; empty where no interpreter was found.
  python_allocator TEXT NOT NULL, -- pymalloc, pymalloc_debug, malloc, malloc_debug, mimalloc, or empty.
  started_ns INTEGER NOT NULL, -- When the process started, or recording of it began.
  ended_ns INTEGER, -- When it ended; NULL while it runs, or if the recording ended first.
  exit_status INTEGER, -- As a shell shows it: the exit code, or 128 plus the signal's number.
  script_started_ns INTEGER, -- When the program's own code began; earlier allocations are left out unless asked for.
  origin TEXT NOT NULL -- How it came into the capture: launched, attached (while it ran), forked or executed.
);

CREATE TABLE threads( -- Threads of all processes.
  thread_id INTEGER PRIMARY KEY, -- Number of the thread in this file.
  process_id INTEGER NOT NULL, -- processes.process_id.
  tid INTEGER NOT NULL, -- The kernel's thread id.
  name TEXT NOT NULL -- Python's name where it has one, else the kernel's; may be empty.
);

CREATE TABLE allocators( -- The functions that hand out or take back memory.
  allocator_id INTEGER PRIMARY KEY, -- 1 to 15 are memray's numbers.
  name TEXT NOT NULL, -- The C function, or memray's name for pymalloc.
  kind TEXT NOT NULL -- simple_allocator, simple_deallocator, ranged_allocator or ranged_deallocator.
);

CREATE TABLE frames( -- Distinct frames: a place in the source.
  frame_id INTEGER PRIMARY KEY, -- Number of the frame in this file.
  function TEXT NOT NULL, -- Qualified name.
  file TEXT NOT NULL, -- Source file, as the program names it.
  line INTEGER NOT NULL, -- Line in the file; 0 where there is none.
  kind TEXT NOT NULL -- python, native, or marker: a word about the stack (cut, lost, no Python frame).
);

CREATE TABLE stacks( -- Call stacks as a prefix tree: a stack is a frame and the stack that called it.
  stack_id INTEGER PRIMARY KEY, -- Number of the stack; always larger than parent_id.
  parent_id INTEGER, -- The stack of the caller; NULL for an outermost frame.
  frame_id INTEGER NOT NULL, -- The innermost frame, frames.frame_id.
  depth INTEGER NOT NULL -- Frames from the outermost to this one: 1 for an outermost frame.
);

CREATE TABLE sites( -- Running totals of each (stack, thread, allocator).
  site_id INTEGER PRIMARY KEY, -- Number of the site in this file.
  stack_id INTEGER NOT NULL, -- stacks.stack_id.
  thread_id INTEGER NOT NULL, -- threads.thread_id.
  allocator_id INTEGER NOT NULL, -- allocators.allocator_id.
  alloc_count INTEGER NOT NULL, -- Allocations made.
  alloc_bytes INTEGER NOT NULL, -- Their bytes.
  live_count INTEGER NOT NULL, -- Of them alive at the last commit.
  live_bytes INTEGER NOT NULL, -- Their bytes.
  temp_count INTEGER NOT NULL, -- Freed while among the last two allocations of their thread (memray's threshold 1).
  temp_bytes INTEGER NOT NULL, -- Their bytes.
  peak_count INTEGER NOT NULL, -- Alive at the peak, if peak_epoch equals that of the process's state; else what is
  peak_bytes INTEGER NOT NULL, -- live now was live then too. The view site_peaks decides it.
  peak_epoch INTEGER NOT NULL -- The epoch to which peak_count and peak_bytes belong.
);

CREATE TABLE freed_allocations( -- Allocations that have ended, in the order of their ends.
  alloc_ts INTEGER NOT NULL, -- When it was made.
  free_ts INTEGER NOT NULL, -- When it ended.
  size INTEGER NOT NULL, -- Bytes asked for.
  stack_id INTEGER NOT NULL, -- stacks.stack_id.
  thread_id INTEGER NOT NULL, -- The thread that made it, threads.thread_id.
  allocator_id INTEGER NOT NULL, -- allocators.allocator_id.
  allocations_between INTEGER NOT NULL -- Allocations that the same thread made between this one and its end.
);

CREATE TABLE live_allocations( -- Allocations alive at the last commit.
  allocation_id INTEGER PRIMARY KEY, -- Number of the allocation, in the order in which they were made.
  alloc_ts INTEGER NOT NULL, -- When it was made.
  size INTEGER NOT NULL, -- Bytes asked for.
  stack_id INTEGER NOT NULL, -- stacks.stack_id.
  thread_id INTEGER NOT NULL, -- The thread that made it, threads.thread_id.
  allocator_id INTEGER NOT NULL, -- allocators.allocator_id.
  address INTEGER NOT NULL -- Where it lies in the process.
);

CREATE TABLE timeline( -- The heap of a process at the end of each interval in which something happened.
  process_id INTEGER NOT NULL, -- processes.process_id.
  ts INTEGER NOT NULL, -- Beginning of the interval.
  live_bytes INTEGER NOT NULL, -- Bytes alive at its end.
  live_count INTEGER NOT NULL, -- Allocations alive at its end.
  max_bytes INTEGER NOT NULL, -- Highest live_bytes inside the interval.
  alloc_count INTEGER NOT NULL, -- Allocations made in the interval.
  alloc_bytes INTEGER NOT NULL, -- Their bytes.
  free_count INTEGER NOT NULL, -- Allocations ended in the interval.
  free_bytes INTEGER NOT NULL, -- Their bytes.
  rss_bytes INTEGER, -- Resident set of the process; NULL where it was not sampled. The sum of the next three.
  rss_anon_bytes INTEGER, -- Of it anonymous memory, with what was written to private mappings of files.
  rss_file_bytes INTEGER, -- Of it pages of files.
  rss_shmem_bytes INTEGER, -- Of it shared memory: tmpfs, System V, anonymous and shared mappings.
  mapped_reserved_bytes INTEGER, -- Mapped beside the heap at the interval's end, resident or not: see mappings.kind.
  mapped_file_bytes INTEGER, -- The same.
  mapped_shared_file_bytes INTEGER, -- The same.
  mapped_stack_bytes INTEGER -- The same.
);

CREATE TABLE site_timeline( -- What each site did in each interval in which it did something.
  ts INTEGER NOT NULL, -- Beginning of the interval.
  site_id INTEGER NOT NULL, -- sites.site_id.
  alloc_count INTEGER NOT NULL, -- Allocations made.
  alloc_bytes INTEGER NOT NULL, -- Their bytes.
  free_count INTEGER NOT NULL, -- Allocations of this site ended.
  free_bytes INTEGER NOT NULL -- Their bytes.
);

CREATE TABLE size_histogram( -- Allocations by size: exact below 128 bytes, 64 classes to each power of two above.
  process_id INTEGER NOT NULL, -- processes.process_id.
  size_from INTEGER NOT NULL, -- Smallest size of the class.
  size_to INTEGER NOT NULL, -- Largest size of the class.
  allocator_id INTEGER NOT NULL, -- allocators.allocator_id.
  alloc_count INTEGER NOT NULL, -- Allocations made.
  alloc_bytes INTEGER NOT NULL, -- Their bytes.
  PRIMARY KEY(process_id, size_from, allocator_id)
);

CREATE TABLE state( -- Totals of each process at the last commit.
  process_id INTEGER PRIMARY KEY, -- processes.process_id.
  last_ts INTEGER NOT NULL, -- Time of the last event in the file.
  alloc_count INTEGER NOT NULL, -- Allocations made.
  alloc_bytes INTEGER NOT NULL, -- Their bytes.
  free_count INTEGER NOT NULL, -- Allocations ended.
  live_count INTEGER NOT NULL, -- Allocations alive.
  live_bytes INTEGER NOT NULL, -- Their bytes.
  peak_bytes INTEGER NOT NULL, -- Highest live_bytes; of equal peaks the last counts.
  peak_count INTEGER NOT NULL, -- Allocations alive then.
  peak_ts INTEGER NOT NULL, -- When that was.
  peak_epoch INTEGER NOT NULL, -- Which sites.peak_* belong to that peak.
  min_size INTEGER NOT NULL, -- Smallest allocation; 0 while there is none.
  max_size INTEGER NOT NULL, -- Largest allocation; 0 while there is none.
  startup_count INTEGER NOT NULL, -- Allocations before the program's own code began, left out of all figures.
  startup_bytes INTEGER NOT NULL -- Their bytes.
);

CREATE TABLE mappings( -- What a process mapped beside its heap, in no figure of the heap. A mapping that is cut has several rows.
  mapping_id INTEGER PRIMARY KEY, -- Number of the mapping, or of a piece of one.
  process_id INTEGER NOT NULL, -- processes.process_id.
  thread_id INTEGER NOT NULL, -- The thread that made it, threads.thread_id.
  stack_id INTEGER NOT NULL, -- stacks.stack_id.
  kind TEXT NOT NULL, -- reserved (anonymous, without access), file (private), shared_file or stack (MAP_STACK).
  address INTEGER NOT NULL, -- Where it begins.
  size INTEGER NOT NULL, -- Bytes.
  mapped_ts INTEGER NOT NULL, -- When it was mapped.
  unmapped_ts INTEGER -- When it was unmapped, mapped over, or made usable and so heap; NULL while it is there.
);

CREATE TABLE mapping_totals( -- Running totals of each process and kind of mapping beside the heap.
  process_id INTEGER NOT NULL, -- processes.process_id.
  kind TEXT NOT NULL, -- As in mappings.
  map_count INTEGER NOT NULL, -- Mappings made.
  map_bytes INTEGER NOT NULL, -- Their bytes.
  live_count INTEGER NOT NULL, -- Of them there at the last commit, if only in part.
  live_bytes INTEGER NOT NULL, -- Bytes there at the last commit.
  highest_bytes INTEGER NOT NULL, -- Highest live_bytes.
  highest_ts INTEGER NOT NULL, -- When that was; of equal ones the last.
  heap_peak_bytes INTEGER NOT NULL, -- Bytes there when the heap of the process was at its peak.
  PRIMARY KEY(process_id, kind)
);

CREATE TABLE losses( -- Counters of the recording: what was lost, what was degraded, and what merely happened.
  process_id INTEGER, -- processes.process_id; NULL where the counter is not kept per process.
  reason TEXT NOT NULL, -- Name of the counter.
  kind TEXT NOT NULL, -- lost, degraded or neutral.
  events INTEGER NOT NULL, -- How often.
  bytes INTEGER NOT NULL, -- Bytes concerned, where known.
  description TEXT NOT NULL -- What it means for the figures, in one sentence.
);

CREATE INDEX losses_key ON losses(reason, process_id);
