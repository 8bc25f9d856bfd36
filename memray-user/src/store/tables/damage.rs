//! A cell of a capture that holds what its column cannot hold.

use rusqlite::types::ValueRef;

/// Where it is and what was found there.
#[derive(Debug, thiserror::Error)]
#[error("table `{table}`, row {row}, column `{column}` holds `{found}`")]
pub(in crate::store) struct Damage {
    pub(in crate::store) table: &'static str,
    pub(in crate::store) row: i64,
    pub(in crate::store) column: &'static str,
    pub(in crate::store) found: String,
}

/// A value in a few characters.
pub(super) fn describe(value: ValueRef<'_>) -> String {
    const SHOWN_CHARACTERS: usize = 40;
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => value.to_string(),
        ValueRef::Text(bytes) => {
            let start = &bytes[..bytes.len().min(4 * SHOWN_CHARACTERS)];
            String::from_utf8_lossy(start)
                .chars()
                .take(SHOWN_CHARACTERS)
                .flat_map(char::escape_debug)
                .collect()
        }
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}
