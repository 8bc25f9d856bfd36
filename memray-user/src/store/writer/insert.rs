//! One batch into the tables, in one transaction.

use std::fmt::Write as _;

use rusqlite::{Connection, Transaction};

use crate::{
    model::{AllocationId, Batch, LossRow},
    store::tables::{Parameters, Stored},
};

/// Rows of one INSERT. From 32 on the cost of a row no longer falls; 32 of the widest table are 544 parameters,
/// fewer than the 999 that even old builds of SQLite take.
const ROWS_PER_STATEMENT: usize = 32;

pub(super) fn write_batch(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    insert(&transaction, &batch.processes)?;
    insert(&transaction, &batch.threads)?;
    insert(&transaction, &batch.frames)?;
    insert(&transaction, &batch.stacks)?;
    remove_live(&transaction, &batch.live_removed)?;
    insert(&transaction, &batch.live_added)?;
    insert(&transaction, &batch.freed)?;
    insert(&transaction, &batch.sites)?;
    insert(&transaction, &batch.timeline)?;
    insert(&transaction, &batch.site_timeline)?;
    insert(&transaction, &batch.histogram)?;
    remove_losses(&transaction, &batch.losses)?;
    insert(&transaction, &batch.losses)?;
    insert(&transaction, &batch.states)?;
    insert(&transaction, &batch.mappings)?;
    insert(&transaction, &batch.mapping_totals)?;
    insert(&transaction, &batch.meta)?;
    transaction.commit()
}

fn insert<T: Stored>(transaction: &Transaction<'_>, rows: &[T]) -> rusqlite::Result<()> {
    let (groups, rest) = rows.as_chunks::<ROWS_PER_STATEMENT>();
    if !groups.is_empty() {
        let mut statement = transaction.prepare_cached(&insert_sql::<T>(ROWS_PER_STATEMENT))?;
        for group in groups {
            execute(&mut statement, group)?;
        }
    }
    if !rest.is_empty() {
        let mut statement = transaction.prepare_cached(&insert_sql::<T>(1))?;
        for row in rest {
            execute(&mut statement, std::slice::from_ref(row))?;
        }
    }
    Ok(())
}

fn execute<T: Stored>(statement: &mut rusqlite::Statement<'_>, rows: &[T]) -> rusqlite::Result<()> {
    let mut parameters = Parameters::new(statement);
    for row in rows {
        row.bind(&mut parameters)?;
    }
    statement.raw_execute()?;
    Ok(())
}

fn insert_sql<T: Stored>(rows: usize) -> String {
    let verb = if T::REPLACES {
        "INSERT OR REPLACE"
    } else {
        "INSERT"
    };
    let columns = T::COLUMNS.join(", ");
    let values = format!("({})", vec!["?"; T::COLUMNS.len()].join(","));
    let mut sql = format!("{verb} INTO {}({columns}) VALUES {values}", T::NAME);
    for _ in 1..rows {
        write!(sql, ",{values}").expect("a String takes all that is written to it");
    }
    sql
}

/// In ascending order, so that neighbors are deleted from a page while it is at hand.
fn remove_live(transaction: &Transaction<'_>, ended: &[AllocationId]) -> rusqlite::Result<()> {
    let mut ended = ended.to_vec();
    ended.sort_unstable();
    let mut statement = transaction.prepare_cached("DELETE FROM live_allocations WHERE allocation_id = ?")?;
    for allocation_id in ended {
        Parameters::new(&mut statement).integer(allocation_id)?;
        statement.raw_execute()?;
    }
    Ok(())
}

/// A key with a NULL is equal to no other, so that `INSERT OR REPLACE` would not find the row.
fn remove_losses(transaction: &Transaction<'_>, losses: &[LossRow]) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("DELETE FROM losses WHERE process_id IS ? AND reason = ?")?;
    for loss in losses {
        let mut parameters = Parameters::new(&mut statement);
        parameters.optional(loss.process_id)?;
        parameters.text(&loss.reason)?;
        statement.raw_execute()?;
    }
    Ok(())
}
