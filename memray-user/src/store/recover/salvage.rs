//! Takes what can be read of a damaged capture into a new one, table by table.
//!
//! A damaged page ends a scan; what lies behind it is found by looking for the next rowid that can be reached, so a
//! page costs the rows on it and no more. All of that is bounded: the file may be a hostile one.

use rusqlite::Connection;
use rustc_hash::FxHashSet;

use crate::{
    model::{
        Batch, FrameRow, FreedRow, LiveRow, LossRow, MappingRow, MappingTotalsRow, ProcessRow, SiteRow,
        SiteTimelineRow, SizeHistogramRow, StackRow, StateRow, ThreadRow, TimelineRow,
    },
    store::{
        CaptureWriter, StoreError, meta_key,
        tables::{Fields, Table, selected_columns},
    },
};

/// Rows that are written at one go.
const ROWS_AT_ONCE: usize = 50_000;
/// Places of one table behind which it is looked for more.
const GAPS_MOST: u64 = 20_000;

/// Where to read, and what could not be read.
struct Salvage<'reading> {
    connection: &'reading Connection,
    schema_version: u32,
    writer: &'reading mut CaptureWriter,
    /// Places that ended a scan, and rows with a value that cannot be.
    unreadable: u64,
}

/// Writes what there is. Returns what there is not, which is in the new capture too.
pub(super) fn salvage(
    connection: &Connection,
    schema_version: u32,
    writer: &mut CaptureWriter,
) -> Result<Vec<LossRow>, StoreError> {
    let mut salvage = Salvage {
        connection,
        schema_version,
        writer,
        unreadable: 0,
    };
    let allocations_missing = salvage.take_figures()?;
    salvage.take_stacks()?;
    salvage.take::<FrameRow>(|batch, rows| batch.frames = rows)?;
    salvage.take::<ProcessRow>(|batch, rows| batch.processes = rows)?;
    salvage.take::<ThreadRow>(|batch, rows| batch.threads = rows)?;
    salvage.take::<SizeHistogramRow>(|batch, rows| batch.histogram = rows)?;
    salvage.take::<LossRow>(|batch, rows| batch.losses = rows)?;
    salvage.take::<TimelineRow>(|batch, rows| batch.timeline = rows)?;
    salvage.take::<SiteTimelineRow>(|batch, rows| batch.site_timeline = rows)?;
    salvage.take::<MappingRow>(|batch, rows| batch.mappings = rows)?;
    salvage.take::<MappingTotalsRow>(|batch, rows| batch.mapping_totals = rows)?;
    salvage.take::<LiveRow>(|batch, rows| batch.live_added = rows)?;
    salvage.take::<FreedRow>(|batch, rows| batch.freed = rows)?;
    salvage.take::<(String, String)>(|batch, rows| {
        batch.meta = rows;
        batch
            .meta
            .retain(|(key, _)| ![meta_key::FINISHED, meta_key::SCHEMA_VERSION].contains(&key.as_str()));
    })?;
    let losses = losses(allocations_missing, salvage.unreadable);
    writer.write(&Batch {
        losses: losses.clone(),
        meta: vec![(meta_key::RECOVERED.to_owned(), "1".to_owned())],
        ..Batch::default()
    })?;
    Ok(losses)
}

fn losses(allocations_missing: u64, unreadable: u64) -> Vec<LossRow> {
    let loss = |reason: &str, kind: &str, events: u64, description: &str| LossRow {
        process_id: None,
        reason: reason.to_owned(),
        kind: kind.to_owned(),
        events,
        bytes: 0,
        description: description.to_owned(),
    };
    vec![
        loss(
            "damaged_file",
            "lost",
            allocations_missing,
            "allocations by which the sites of a damaged capture differ from its totals",
        ),
        // One at least: why it was put together anew was a reason to doubt it.
        loss(
            "damaged_rows",
            "degraded",
            unreadable.max(1),
            "places of a damaged capture that could not be read or contradict each other",
        ),
    ]
}

impl Salvage<'_> {
    /// Sites and totals; by how many allocations they differ.
    fn take_figures(&mut self) -> Result<u64, StoreError> {
        let (mut of_sites, mut of_states) = (0_u64, 0_u64);
        self.take::<SiteRow>(|batch, rows| {
            of_sites = rows
                .iter()
                .fold(of_sites, |sum, row| sum.saturating_add(row.alloc_count));
            batch.sites = rows;
        })?;
        self.take::<StateRow>(|batch, rows| {
            of_states = rows
                .iter()
                .fold(of_states, |sum, row| sum.saturating_add(row.alloc_count));
            batch.states = rows;
        })?;
        Ok(of_sites.abs_diff(of_states))
    }

    /// What a stack lacks outwards is lost: it begins where it can be read.
    fn take_stacks(&mut self) -> Result<(), StoreError> {
        let mut known = FxHashSet::default();
        let mut cut: u64 = 0;
        self.take::<StackRow>(|batch, mut rows| {
            for row in &mut rows {
                if row.parent_id.is_some_and(|parent| !known.contains(&parent)) {
                    row.parent_id = None;
                    cut += 1;
                }
                known.insert(row.stack_id);
            }
            batch.stacks = rows;
        })?;
        self.unreadable = self.unreadable.saturating_add(cut);
        Ok(())
    }

    /// All rows of a table that can be read, in groups.
    fn take<T: Table>(&mut self, mut put: impl FnMut(&mut Batch, Vec<T>)) -> Result<(), StoreError> {
        if self.schema_version < T::SINCE_VERSION {
            return Ok(());
        }
        let mut next = i64::MIN;
        let mut gaps = 0;
        loop {
            let group = read::<T>(self.connection, self.schema_version, next, ROWS_AT_ONCE);
            self.unreadable = self.unreadable.saturating_add(group.damaged);
            if !group.rows.is_empty() {
                let mut batch = Batch::default();
                put(&mut batch, group.rows);
                self.writer.write(&batch)?;
            }
            next = match group.end {
                End::Table => return Ok(()),
                End::Group { last } => match last.checked_add(1) {
                    Some(next) => next,
                    None => return Ok(()),
                },
                End::Damage { after } => {
                    self.unreadable = self.unreadable.saturating_add(1);
                    gaps += 1;
                    match behind::<T>(self.connection, after).filter(|_| gaps < GAPS_MOST) {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
            };
        }
    }
}

/// Some rows of a table.
struct Group<T> {
    rows: Vec<T>,
    /// Rows with a value that cannot be.
    damaged: u64,
    end: End,
}

/// Why there are no more.
enum End {
    Table,
    Group {
        last: i64,
    },
    Damage {
        /// The last rowid before it.
        after: i64,
    },
}

fn read<T: Table>(connection: &Connection, schema_version: u32, from: i64, most: usize) -> Group<T> {
    let mut group = Group {
        rows: Vec::new(),
        damaged: 0,
        end: End::Damage {
            after: from.saturating_sub(1),
        },
    };
    let columns = selected_columns::<T>(schema_version);
    let sql = format!(
        "SELECT rowid, {columns} FROM {} NOT INDEXED WHERE rowid >= ?",
        T::NAME
    );
    let Ok(mut statement) = connection.prepare(&sql) else {
        return group;
    };
    let Ok(mut rows) = statement.query([from]) else {
        return group;
    };
    let mut last = from.saturating_sub(1);
    loop {
        match rows.next() {
            Ok(None) => {
                group.end = End::Table;
                return group;
            }
            Ok(Some(row)) => {
                let rowid: i64 = row.get(0).unwrap_or(i64::MIN);
                if rowid < from || (rowid <= last && last >= from) {
                    // Out of order: pages of another tree, or of another moment.
                    group.end = End::Damage { after: last };
                    return group;
                }
                last = rowid;
                match T::read(&mut Fields::new::<T>(row)) {
                    Ok(row) => group.rows.push(row),
                    Err(_damage) => group.damaged += 1,
                }
                if group.rows.len() >= most {
                    group.end = End::Group { last };
                    return group;
                }
            }
            Err(_damage) => {
                group.end = End::Damage { after: last };
                return group;
            }
        }
    }
}

/// The first rowid behind damage that leads to a row: looked for in growing steps, then in halves.
fn behind<T: Table>(connection: &Connection, after: i64) -> Option<i64> {
    // Rowids count from 1, but for those of a hostile file.
    let after = after.max(0);
    let sql = format!(
        "SELECT rowid FROM {} NOT INDEXED WHERE rowid >= ? LIMIT 1",
        T::NAME
    );
    let mut statement = connection.prepare(&sql).ok()?;
    let mut row_from = |from: i64| -> Option<i64> {
        let found = statement.query_row([from], |row| row.get::<_, i64>(0)).ok()?;
        (found >= from).then_some(found)
    };
    let (mut bad, mut step) = (after, 1_i64);
    let mut good = loop {
        let from = after.checked_add(step)?;
        if row_from(from).is_some() {
            break from;
        }
        bad = from;
        step = step.checked_mul(2)?;
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if row_from(middle).is_some() {
            good = middle;
        } else {
            bad = middle;
        }
    }
    row_from(good)
}
