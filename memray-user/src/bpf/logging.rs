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
