//! Puts a capture's metadata together from its rows.

use crate::{
    model::{CaptureMetadata, ProcessRow, StateRow, ThreadRow},
    store::meta_key,
};

/// A number that cannot be read counts as absent: it is for show only.
pub(super) fn assemble(
    mut entries: Vec<(String, String)>,
    processes: Vec<ProcessRow>,
    threads: Vec<ThreadRow>,
    states: Vec<StateRow>,
) -> CaptureMetadata {
    entries.sort();
    let value = |key: &str| {
        entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    };
    let number = |key: &str| value(key).and_then(|text| text.parse().ok());
    let of_first_process = || processes.first().map(|process| process.command_line.clone());
    CaptureMetadata {
        command_line: value(meta_key::COMMAND_LINE)
            .or_else(of_first_process)
            .unwrap_or_default(),
        started_at_ms: number(meta_key::STARTED_AT_MS).unwrap_or_default(),
        ended_at_ms: number(meta_key::ENDED_AT_MS),
        may_lack_log: false,
        finished: value(meta_key::FINISHED).is_some_and(|finished| finished == "1"),
        memray_version: value(meta_key::MEMRAY_VERSION).unwrap_or_default(),
        kernel_release: value(meta_key::KERNEL_RELEASE).unwrap_or_default(),
        entries,
        processes,
        other_processes: Vec::new(),
        threads,
        states,
    }
}
