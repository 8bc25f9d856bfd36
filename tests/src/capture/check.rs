//! What must hold for every capture, whatever was recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::{Capture, Row};

/// Kinds of events for which seen = recorded + lost is stored.
const IDENTITIES: [&str; 4] = [
    "identity.allocations ok",
    "identity.frees ok",
    "identity.maps ok",
    "identity.unmaps ok",
];

impl Capture {
    /// See the module. `degraded` are the counters that must not be zero, `tolerated` those that need not be.
    pub(crate) fn check(&self, degraded: &BTreeSet<&str>, tolerated: &BTreeSet<&str>) {
        let name = self.name();
        assert_eq!(self.query("PRAGMA integrity_check"), ["ok"], "{name}");
        let identities = self.query("SELECT key, value FROM meta WHERE key LIKE 'identity.%' ORDER BY key");
        assert_eq!(identities, IDENTITIES, "{name}");
        let finished = self.query("SELECT value FROM meta WHERE key = 'finished'");
        assert_eq!(finished, ["1"], "{name}");

        // Whether a short thread's name is read in time depends on who gets a CPU; the tests of names look at it.
        let mut losses = self.query(
            "SELECT DISTINCT reason FROM losses WHERE kind <> 'neutral' AND events > 0
             AND reason <> 'thread_name_unknown' ORDER BY reason",
        );
        losses.retain(|reason| !tolerated.contains(reason.as_str()));
        let expected: Vec<&str> = degraded.iter().copied().collect();
        assert_eq!(losses, expected, "{name}: lost or degraded");
        let rows = self.all_rows();
        self.check_order(&rows);
        self.check_times();
        self.check_mappings();
        self.check_totals(&rows);
        // Blocks whose frees were lost count until that is noticed, and so can be in a peak that was none.
        if self.number("SELECT COUNT(*) FROM losses WHERE reason = 'free_ring_full' AND events > 0")
            == Some(0)
        {
            self.check_peak(&rows);
        }
    }

    fn check_order(&self, rows: &[Row]) {
        let started: BTreeMap<i64, i64> = self
            .query("SELECT process_id, script_started_ns FROM processes WHERE script_started_ns IS NOT NULL")
            .iter()
            .filter_map(|line| {
                let (process_id, started_ns) = line.split_once(' ')?;
                Some((process_id.parse().ok()?, started_ns.parse().ok()?))
            })
            .collect();
        for row in rows {
            let started = started.get(&row.process_id);
            let is_after_start = started.is_none_or(|&started| row.alloc_ts >= started);
            let ends_later = row.free_ts.is_none_or(|free_ts| free_ts >= row.alloc_ts);
            assert!(is_after_start && ends_later, "{}: {row:?}", self.name());
        }
    }

    /// No time runs backwards: rows are in the order of events.
    fn check_times(&self) {
        for (table, time, order) in [
            ("freed_allocations", "free_ts", "rowid"),
            // What is left of a mapping that was cut is a newer row with the mapping's own time.
            (
                "(SELECT * FROM live_allocations JOIN allocators USING (allocator_id) WHERE kind = 'simple_allocator')",
                "alloc_ts",
                "allocation_id",
            ),
            ("site_timeline", "ts", "rowid"),
        ] {
            let sql = format!(
                "SELECT COUNT(*) FROM (SELECT {time} AS now, LAG({time}) OVER (ORDER BY {order}) AS before FROM {table})
                 WHERE now < before"
            );
            assert_eq!(
                self.number(&sql),
                Some(0),
                "{}: {table} runs backwards",
                self.name()
            );
        }
        let curve =
            "SELECT COUNT(*) FROM (SELECT ts, LAG(ts) OVER (PARTITION BY process_id ORDER BY rowid) AS before
                     FROM timeline) WHERE ts <= before";
        assert_eq!(
            self.number(curve),
            Some(0),
            "{}: timeline runs backwards",
            self.name()
        );
        let ends = "SELECT COUNT(*) FROM mappings WHERE unmapped_ts < mapped_ts";
        assert_eq!(
            self.number(ends),
            Some(0),
            "{}: mappings run backwards",
            self.name()
        );
    }

    /// The totals of mappings are those of their rows, and no two lie at one place at one time.
    fn check_mappings(&self) {
        let by_kind = |columns: &str, table: &str| {
            self.query(&format!(
                "SELECT process_id, kind, {columns} FROM {table} GROUP BY process_id, kind ORDER BY process_id, kind"
            ))
        };
        let rows = by_kind(
            "SUM(size), SUM(CASE WHEN unmapped_ts IS NULL THEN size ELSE 0 END)",
            "mappings",
        );
        let totals = by_kind("map_bytes, live_bytes", "mapping_totals");
        assert_eq!(rows, totals, "{}: mappings", self.name());
        let overlapping = "SELECT COUNT(*) FROM (
              SELECT address, LAG(address + size) OVER (PARTITION BY process_id ORDER BY address) AS before
              FROM mappings WHERE unmapped_ts IS NULL)
            WHERE address < before";
        assert_eq!(
            self.number(overlapping),
            Some(0),
            "{}: mappings overlap",
            self.name()
        );
    }

    /// The running totals are those of the rows.
    fn check_totals(&self, rows: &[Row]) {
        let mut by_site = BTreeMap::<_, [i64; 2]>::new();
        for row in rows {
            let [all, live] = by_site
                .entry((row.stack_id, row.thread_id, row.allocator.clone()))
                .or_default();
            *all += row.size;
            *live += row.free_ts.map_or(row.size, |_| 0);
        }
        let expected: Vec<String> = by_site
            .iter()
            .map(|((stack, thread, allocator), [all, live])| {
                format!("{stack} {thread} {allocator} {all} {live}")
            })
            .collect();
        let found = self.query(
            "SELECT stack_id, thread_id, name, alloc_bytes, live_bytes FROM sites
             JOIN allocators USING (allocator_id) ORDER BY stack_id, thread_id, name",
        );
        assert_eq!(found, expected, "{}: sites", self.name());

        let ranged = "(SELECT allocator_id FROM allocators WHERE kind LIKE 'ranged%')";
        for (found, expected) in [
            (
                "SELECT SUM(alloc_bytes) FROM state".to_owned(),
                "SELECT SUM(size) FROM allocations".to_owned(),
            ),
            (
                "SELECT SUM(live_bytes) FROM state".to_owned(),
                "SELECT SUM(size) FROM live_allocations".to_owned(),
            ),
            (
                "SELECT SUM(alloc_count) FROM state".to_owned(),
                "SELECT SUM(alloc_count) FROM sites".to_owned(),
            ),
            (
                format!("SELECT SUM(alloc_count) FROM sites WHERE allocator_id NOT IN {ranged}"),
                format!("SELECT COUNT(*) FROM allocations WHERE allocator_id NOT IN {ranged}"),
            ),
        ] {
            let sum = |sql: &str| self.number(sql).unwrap_or(0);
            assert_eq!(sum(&found), sum(&expected), "{}: {found}", self.name());
        }
    }

    /// The peak and what it is made of, from the rows alone. Only for one thread: the times of two that run at
    /// once do not say which was first.
    fn check_peak(&self, rows: &[Row]) {
        let threads = self.number("SELECT COUNT(DISTINCT thread_id) FROM sites");
        if threads != Some(1) {
            return;
        }
        let mut events: Vec<(i64, bool, usize)> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            events.push((row.alloc_ts, false, index));
            if let Some(free_ts) = row.free_ts {
                events.push((free_ts, true, index));
            }
        }
        // At one time a free comes before the allocation that it made room for, but after the allocation it ends.
        events.sort_by_key(|&(ts, is_free, index)| (ts, !is_free || rows[index].alloc_ts == ts, index));
        let mut live = 0;
        let (mut peak, mut peak_at) = (0, 0);
        for (position, &(ts, is_free, index)) in events.iter().enumerate() {
            let size = rows[index].size;
            live += if is_free { -size } else { size };
            let is_between = events.get(position + 1).is_some_and(|next| next.0 == ts);
            if !is_free && !is_between && live >= peak {
                (peak, peak_at) = (live, position);
            }
        }
        let found = self.number("SELECT SUM(peak_bytes) FROM state");
        assert_eq!(found, Some(peak), "{}: peak", self.name());

        let mut composition = BTreeMap::<i64, i64>::new();
        for &(_, is_free, index) in events.iter().take(peak_at + 1) {
            let row = &rows[index];
            *composition.entry(row.stack_id).or_default() += if is_free { -row.size } else { row.size };
        }
        let expected: Vec<String> = composition
            .iter()
            .filter(|&(_, &bytes)| bytes > 0)
            .map(|(stack, bytes)| format!("{stack} {bytes}"))
            .collect();
        let found = self.query("SELECT stack_id, bytes FROM peak WHERE bytes > 0 ORDER BY stack_id");
        assert_eq!(found, expected, "{}: composition of the peak", self.name());
    }
}
