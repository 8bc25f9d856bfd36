-- Views of a capture: the stable part of the schema, made for sqlite3, DuckDB, datasette and people.
--
-- DuckDB parses the SQL of views in its own dialect, and one that it cannot parse hides the whole file. So no GLOB, no
-- `IS 'text'`, no INDEXED BY, no bare columns in aggregates, no total(), printf() or rowid, and no math functions,
-- which the bundled SQLite lacks. The recursive views ask for parent < child, so that a damaged file cannot make them
-- run in circles.

-- What a site, an allocation or a curve belongs to is one life of a process (process_id); exec begins a new one with the
-- same pid, and a pid can come again, so pid is for people and process_id for joins.

-- Every allocation as one interval; free_ts is NULL while it lives. The joins are outside the union, where SQLite leaves
-- out those of which no column is asked for.
CREATE VIEW allocations AS
  SELECT a.alloc_ts, a.free_ts, a.size, a.stack_id, a.thread_id, a.allocator_id, h.process_id, p.pid
  FROM (SELECT alloc_ts, free_ts, size, stack_id, thread_id, allocator_id FROM freed_allocations
        UNION ALL
        SELECT alloc_ts, NULL AS free_ts, size, stack_id, thread_id, allocator_id FROM live_allocations) a
  LEFT JOIN threads h ON h.thread_id = a.thread_id
  LEFT JOIN processes p ON p.process_id = h.process_id;

-- Each stack with its innermost frame.
CREATE VIEW locations AS
  SELECT s.stack_id, s.parent_id, s.depth, f.frame_id, f.function, f.file, f.line, f.kind
  FROM stacks s JOIN frames f ON f.frame_id = s.frame_id;

-- What each site held when the live bytes of its process were highest.
CREATE VIEW site_peaks AS
  SELECT x.site_id, h.process_id, x.stack_id, x.thread_id, x.allocator_id,
         CASE WHEN x.peak_epoch = t.peak_epoch THEN x.peak_bytes ELSE x.live_bytes END AS bytes,
         CASE WHEN x.peak_epoch = t.peak_epoch THEN x.peak_count ELSE x.live_count END AS allocations, p.pid
  FROM sites x
  LEFT JOIN threads h ON h.thread_id = x.thread_id
  LEFT JOIN processes p ON p.process_id = h.process_id
  LEFT JOIN state t ON t.process_id = h.process_id;

-- Memory alive at the peak, each process's own, by process and stack, most bytes first.
CREATE VIEW peak AS
  SELECT p.process_id, l.stack_id, p.bytes, p.allocations, l.function, l.file, l.line, q.pid
  FROM (SELECT process_id, stack_id, SUM(bytes) AS bytes, SUM(allocations) AS allocations
        FROM site_peaks GROUP BY process_id, stack_id) p
  JOIN locations l ON l.stack_id = p.stack_id
  LEFT JOIN processes q ON q.process_id = p.process_id
  WHERE p.allocations > 0 OR p.bytes > 0 ORDER BY p.bytes DESC;

-- Memory alive at the end of each process (or at the last commit), by process and stack, most bytes first.
CREATE VIEW leaks AS
  SELECT p.process_id, l.stack_id, p.bytes, p.allocations, l.function, l.file, l.line, q.pid
  FROM (SELECT h.process_id, x.stack_id, SUM(x.live_bytes) AS bytes, SUM(x.live_count) AS allocations
        FROM sites x LEFT JOIN threads h ON h.thread_id = x.thread_id GROUP BY h.process_id, x.stack_id) p
  JOIN locations l ON l.stack_id = p.stack_id
  LEFT JOIN processes q ON q.process_id = p.process_id
  WHERE p.allocations > 0 OR p.bytes > 0 ORDER BY p.bytes DESC;

-- All memory ever allocated, and what of it was temporary, by process and stack, most bytes first.
CREATE VIEW hotspots AS
  SELECT p.process_id, l.stack_id, p.bytes, p.allocations, p.temporary_bytes, p.temporary_allocations,
         l.function, l.file, l.line, q.pid
  FROM (SELECT h.process_id, x.stack_id, SUM(x.alloc_bytes) AS bytes, SUM(x.alloc_count) AS allocations,
               SUM(x.temp_bytes) AS temporary_bytes, SUM(x.temp_count) AS temporary_allocations
        FROM sites x LEFT JOIN threads h ON h.thread_id = x.thread_id GROUP BY h.process_id, x.stack_id) p
  JOIN locations l ON l.stack_id = p.stack_id
  LEFT JOIN processes q ON q.process_id = p.process_id
  ORDER BY p.bytes DESC;

-- Memory freed while among the last two allocations of its thread, by process and stack, most bytes first.
CREATE VIEW temporary AS
  SELECT process_id, stack_id, temporary_bytes AS bytes, temporary_allocations AS allocations, function, file, line,
         pid
  FROM hotspots WHERE temporary_allocations > 0 OR temporary_bytes > 0 ORDER BY temporary_bytes DESC;

-- The memory curve of each process, in seconds since the clock base.
CREATE VIEW memory AS
  SELECT t.process_id, t.ts / 1e9 AS seconds, t.live_bytes, t.max_bytes, t.live_count, t.alloc_count, t.free_count,
         t.rss_bytes, p.pid, t.rss_anon_bytes, t.rss_file_bytes, t.rss_shmem_bytes, t.mapped_reserved_bytes,
         t.mapped_file_bytes, t.mapped_shared_file_bytes, t.mapped_stack_bytes
  FROM timeline t LEFT JOIN processes p ON p.process_id = t.process_id ORDER BY t.ts;

-- What each process mapped beside its heap, by kind: there now, at most, and when the heap was at its peak.
CREATE VIEW mapped_memory AS
  SELECT m.process_id, m.kind, m.live_bytes, m.live_count, m.highest_bytes, m.highest_ts, m.heap_peak_bytes,
         m.map_bytes, m.map_count, p.pid
  FROM mapping_totals m LEFT JOIN processes p ON p.process_id = m.process_id;

-- Each stack as one line, outermost function first, joined by semicolons. Fast for `WHERE stack_id = ...`.
CREATE VIEW stack_text AS
  SELECT s.stack_id, (WITH RECURSIVE up(node_id, parent_id, txt) AS (
      SELECT a.stack_id, a.parent_id, f.function
      FROM stacks a JOIN frames f ON f.frame_id = a.frame_id WHERE a.stack_id = s.stack_id
      UNION ALL
      SELECT a.stack_id, a.parent_id, f.function || ';' || up.txt
      FROM up JOIN stacks a ON a.stack_id = up.parent_id AND a.stack_id < up.node_id
      JOIN frames f ON f.frame_id = a.frame_id)
    SELECT txt FROM up WHERE parent_id IS NULL) AS stack
  FROM stacks s;

-- Each frame of each stack that allocated; depth 1 is the outermost. Computed whole each time.
CREATE VIEW stack_frames AS
  WITH RECURSIVE up(stack_id, node_id) AS (
    SELECT stack_id, stack_id FROM (SELECT DISTINCT stack_id FROM sites) d
    UNION ALL
    SELECT up.stack_id, s.parent_id
    FROM up JOIN stacks s ON s.stack_id = up.node_id WHERE s.parent_id < s.stack_id)
  SELECT up.stack_id, l.depth, l.function, l.file, l.line, l.kind, l.stack_id AS node_id
  FROM up JOIN locations l ON l.stack_id = up.node_id;
