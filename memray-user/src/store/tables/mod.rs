//! How each row struct goes into its table and comes back: names once, for writer and reader alike.
//!
//! [`Parameters`] turns numbers into what SQLite holds, [`Fields`] checks what comes back: a file is not trusted to
//! hold the types, signs, ids or lengths that its schema promises.

mod damage;
mod rows;

use rusqlite::{Row, Statement, types::ValueRef};

pub(super) use self::{
    damage::Damage,
    rows::{allocator_kind_name, loss_rank},
};
use crate::model::{
    Allocator, FrameRow, FreedRow, LossRow, MappingTotalsRow, ProcessRow, SiteRow, SizeHistogramRow,
    StackRow, StateRow, ThreadRow, TimelineRow,
};

/// Bytes of a text that the reader keeps; names are shorter by far, and a longer one is cut with an ellipsis.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

/// What can be read from the columns of a table.
pub(super) trait Table: Sized {
    const NAME: &'static str;
    /// The first schema version that has the table.
    const SINCE_VERSION: u32 = 1;
    /// In the order in which they are read; for a row struct all columns, in the order of `schema.sql`.
    const COLUMNS: &'static [&'static str];
    /// Those of the columns that captures of older schema versions lack.
    const LATER_COLUMNS: &'static [LaterColumn] = &[];

    fn read(fields: &mut Fields<'_>) -> Result<Self, Damage>;
}

/// A column that the table has from some schema version on.
pub(super) struct LaterColumn {
    pub(super) name: &'static str,
    pub(super) since_version: u32,
    /// SQL that stands for it in captures of older versions.
    pub(super) before: &'static str,
}

/// The columns of a table as expressions for a capture of this schema version.
pub(super) fn selected_columns<T: Table>(schema_version: u32) -> String {
    let expression = |name: &&'static str| {
        let missing = |column: &&LaterColumn| column.name == *name && schema_version < column.since_version;
        T::LATER_COLUMNS
            .iter()
            .find(missing)
            .map_or(*name, |column| column.before)
    };
    T::COLUMNS.iter().map(expression).collect::<Vec<_>>().join(", ")
}

/// A row struct, which has all columns of its table.
pub(super) trait Stored: Table {
    /// Whether a row replaces that of the same key.
    const REPLACES: bool;

    fn bind(&self, parameters: &mut Parameters<'_, '_>) -> rusqlite::Result<()>;
}

/// All tables that the reader reads, with the first schema version that has each; the others are for SQL.
pub(super) const TABLES: [(&str, u32); 12] = [
    named::<(String, String)>(),
    named::<ProcessRow>(),
    named::<ThreadRow>(),
    named::<FrameRow>(),
    named::<StackRow>(),
    named::<SiteRow>(),
    named::<FreedRow>(),
    named::<TimelineRow>(),
    named::<SizeHistogramRow>(),
    named::<StateRow>(),
    named::<LossRow>(),
    named::<MappingTotalsRow>(),
];

const fn named<T: Table>() -> (&'static str, u32) {
    (T::NAME, T::SINCE_VERSION)
}

/// The parameters of a statement, bound one after the other.
pub(super) struct Parameters<'statement, 'connection> {
    statement: &'statement mut Statement<'connection>,
    next: usize,
}

impl<'statement, 'connection> Parameters<'statement, 'connection> {
    pub(super) fn new(statement: &'statement mut Statement<'connection>) -> Self {
        Self { statement, next: 1 }
    }

    /// SQLite's integers end at 2^63 - 1, and a number above stands as that one.
    pub(super) fn integer(&mut self, value: impl Into<u64>) -> rusqlite::Result<()> {
        self.signed(i64::try_from(value.into()).unwrap_or(i64::MAX))
    }

    pub(super) fn optional(&mut self, value: Option<impl Into<u64>>) -> rusqlite::Result<()> {
        match value {
            Some(value) => self.integer(value),
            None => self.null(),
        }
    }

    pub(super) fn signed(&mut self, value: i64) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    pub(super) fn null(&mut self) -> rusqlite::Result<()> {
        self.statement
            .raw_bind_parameter(self.next, rusqlite::types::Null)?;
        self.next += 1;
        Ok(())
    }

    pub(super) fn text(&mut self, value: &str) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    pub(super) fn allocator(&mut self, value: Allocator) -> rusqlite::Result<()> {
        self.signed(i64::from(value as u8))
    }
}

/// The columns of a row, read one after the other; column 0 is the rowid.
pub(super) struct Fields<'row> {
    row: &'row Row<'row>,
    table: &'static str,
    columns: &'static [&'static str],
    next: usize,
}

impl<'row> Fields<'row> {
    pub(super) fn new<T: Table>(row: &'row Row<'row>) -> Self {
        Self {
            row,
            table: T::NAME,
            columns: T::COLUMNS,
            next: 0,
        }
    }

    pub(super) fn integer(&mut self) -> Result<u64, Damage> {
        self.optional()?.ok_or_else(|| self.damage("NULL".to_owned()))
    }

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Damage> {
        let Some(value) = self.optional_signed()? else {
            return Ok(None);
        };
        u64::try_from(value)
            .map(Some)
            .map_err(|_negative| self.damage(value.to_string()))
    }

    pub(super) fn optional_signed(&mut self) -> Result<Option<i64>, Damage> {
        match self.advance()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            other => Err(self.damage(damage::describe(other))),
        }
    }

    /// A number of at most 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, Damage> {
        let value = self.integer()?;
        u32::try_from(value).map_err(|_too_large| self.damage(value.to_string()))
    }

    /// A number of this file, which count from 1.
    pub(super) fn id(&mut self) -> Result<u32, Damage> {
        self.optional_id()?.ok_or_else(|| self.damage("NULL".to_owned()))
    }

    pub(super) fn optional_id(&mut self) -> Result<Option<u32>, Damage> {
        let Some(value) = self.optional()? else {
            return Ok(None);
        };
        match u32::try_from(value) {
            Ok(id) if id > 0 => Ok(Some(id)),
            _ => Err(self.damage(value.to_string())),
        }
    }

    pub(super) fn allocator(&mut self) -> Result<Allocator, Damage> {
        let value = self.integer()?;
        u8::try_from(value)
            .ok()
            .and_then(Allocator::from_raw)
            .ok_or_else(|| self.damage(value.to_string()))
    }

    /// Bytes that are not UTF-8 come as replacement characters, and what is too long is cut.
    pub(super) fn text(&mut self) -> Result<String, Damage> {
        match self.advance()? {
            ValueRef::Text(bytes) => Ok(bounded_text(bytes)),
            other => Err(self.damage(damage::describe(other))),
        }
    }

    /// That the column read last holds something that it must not hold.
    pub(super) fn damage(&self, found: String) -> Damage {
        let column = self
            .next
            .checked_sub(1)
            .and_then(|index| self.columns.get(index))
            .copied();
        let row = self.row.get(0).unwrap_or_default();
        Damage {
            table: self.table,
            row,
            column: column.unwrap_or("rowid"),
            found,
        }
    }

    /// That another column holds something that it must not hold.
    pub(super) fn damage_in(&self, column: &'static str, found: String) -> Damage {
        Damage {
            column,
            ..self.damage(found)
        }
    }

    fn advance(&mut self) -> Result<ValueRef<'row>, Damage> {
        self.next += 1;
        self.row
            .get_ref(self.next)
            .map_err(|error| self.damage(error.to_string()))
    }
}

fn bounded_text(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_TEXT_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from_utf8_lossy(&bytes[..MAX_TEXT_BYTES]).into_owned();
    text.push('…');
    text
}
