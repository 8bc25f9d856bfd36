//! Prints what the programs log, in builds with the feature `bpf-log`.

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// How often the programs' words are looked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// Standard error, a line for each record.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Whoever debugs has closed it on purpose.
        let _closed = writeln!(io::stderr(), "bpf: {}: {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// The object with names that the kernel takes. aya-log's level is a generic union, and bpf-linker 0.10 leaves such a
/// name in the type information as it is (`btf_name_valid_identifier`, kernel/bpf/btf.c).
pub(super) fn readable(object: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"MaybeUninit<u8>";
    const VALID: &[u8] = b"MaybeUninit_u8_";
    let mut object = object.to_vec();
    for start in 0..object.len().saturating_sub(NAME.len()) {
        if object[start..].starts_with(NAME) {
            object[start..start + VALID.len()].copy_from_slice(VALID);
        }
    }
    object
}

/// Starts the printing thread, which ends with the process. Call it after all programs are loaded.
pub(super) fn start(ebpf: &mut Ebpf) -> Result<(), aya_log::Error> {
    let mut logger = EbpfLogger::init_with_logger(ebpf, StandardError)?;
    thread::spawn(move || {
        loop {
            logger.flush();
            thread::park_timeout(INTERVAL);
        }
    });
    Ok(())
}
