//! The options of `run` and `attach` about how events come from the kernel, and how much they have room for there.

use clap::Args;
use memray_ebpf::limits::{
    MAX_PROCESSES, MAX_RING_BYTES, MAX_THREADS, MIN_RING_BYTES, MOST_TASKS, RING_BYTES,
};

use crate::{
    bpf::{Bounds, Delivery},
    error::CommandError,
    ingest::bounds::IngestBounds,
    units::size_text,
};

#[derive(Args)]
pub(super) struct DeliveryArguments {
    /// Never hold the program back: what the recording cannot take in is missing from it, and counted
    #[arg(long)]
    lossy: bool,

    /// Room for events on their way from the kernel, a power of two such as 16M [default: 64M]
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide_short_help = true)]
    ring_size: Option<u64>,

    /// Threads that can be recorded at one time; the kernel takes 8 KiB for each that is there
    #[arg(long, value_name = "COUNT", default_value_t = MAX_THREADS, hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TASKS)))]
    max_threads: u32,

    /// Processes that can be recorded at one time; the kernel takes 420 bytes for each
    #[arg(long, value_name = "COUNT", default_value_t = MAX_PROCESSES, hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TASKS)))]
    max_processes: u32,

    /// Stacks that are told apart; memray takes up to 160 bytes for each
    #[arg(long, value_name = "COUNT", default_value_t = 8 << 20, hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1000..))]
    max_stacks: u32,
}

/// What they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliverySettings {
    pub(super) delivery: Delivery,
    pub(super) bounds: Bounds,
    pub(super) ingest_bounds: IngestBounds,
}

impl DeliveryArguments {
    pub(super) fn check(self) -> Result<DeliverySettings, CommandError> {
        let Self {
            lossy,
            ring_size,
            max_threads,
            max_processes,
            max_stacks,
        } = self;
        let delivery = if lossy {
            Delivery::Lossy
        } else {
            Delivery::Lossless
        };
        let bounds = Bounds {
            ring_bytes: ring_bytes(ring_size.unwrap_or_else(|| RING_BYTES.into()))?,
            threads: max_threads,
            processes: max_processes,
        };
        let ingest_bounds = IngestBounds {
            stacks: usize::try_from(max_stacks).unwrap_or(usize::MAX),
            ..IngestBounds::default()
        };
        Ok(DeliverySettings {
            delivery,
            bounds,
            ingest_bounds,
        })
    }
}

fn ring_bytes(bytes: u64) -> Result<u32, CommandError> {
    let (least, most) = (u64::from(MIN_RING_BYTES), u64::from(MAX_RING_BYTES));
    let nearest = bytes.clamp(least, most).next_power_of_two();
    match u32::try_from(bytes) {
        Ok(bytes) if u64::from(bytes) == nearest => Ok(bytes),
        _ => Err(CommandError::usage(format!(
            "`--ring-size {bytes}` is no power of two from {} to {}",
            size_text(least),
            size_text(most)
        ))
        .hint(format!("write `--ring-size {nearest}`"))),
    }
}

/// A number, with K, M or G behind it for powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((index, 'k' | 'K')) => (&text[..index], 10),
        Some((index, 'm' | 'M')) => (&text[..index], 20),
        Some((index, 'g' | 'G')) => (&text[..index], 30),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_error| "not a number of bytes, such as 16M".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expect) in [
            ("4096", Some(4096)),
            ("16k", Some(16 << 10)),
            ("64M", Some(64 << 20)),
            ("1G", Some(1 << 30)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.5M", None),
            ("1T", None),
            ("1é", None),
            ("99999999999999999G", None),
        ] {
            assert_eq!(bytes(text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn a_ring_is_a_power_of_two_within_bounds() {
        let check = |bytes: u64, expect: Result<u32, &str>| {
            let found = ring_bytes(bytes).map_err(|error| error.hints[0].clone());
            assert_eq!(found, expect.map_err(str::to_owned), "{bytes}");
        };
        check(64 << 20, Ok(64 << 20));
        check(256 << 10, Ok(256 << 10));
        check(1 << 30, Ok(1 << 30));
        check(100 << 20, Err("write `--ring-size 134217728`"));
        check(0, Err("write `--ring-size 262144`"));
        check(2 << 30, Err("write `--ring-size 1073741824`"));
        check(u64::MAX, Err("write `--ring-size 1073741824`"));
    }
}
