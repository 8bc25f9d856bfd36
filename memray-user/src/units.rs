//! Numbers as people read them; every report formats through here.

/// Bytes in SI units as memray prints them in text reports: three decimals, `10.000MB`, `1.000B`.
pub fn size_text(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    format!("{value:.3}{unit}")
}

/// Bytes in SI units as memray prints them in HTML reports: one decimal, `30.7 MB`.
pub fn size_short(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    format!("{value:.1} {unit}")
}

fn scaled(bytes: u64) -> (f64, &'static str) {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    (value, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text, short) in [
            (0, "0.000B", "0.0 B"),
            (1, "1.000B", "1.0 B"),
            (999, "999.000B", "999.0 B"),
            (1000, "1.000kB", "1.0 kB"),
            (10_000_000, "10.000MB", "10.0 MB"),
            (30_748_123, "30.748MB", "30.7 MB"),
            (u64::MAX, "18.447EB", "18.4 EB"),
        ] {
            assert_eq!(size_text(bytes), text);
            assert_eq!(size_short(bytes), short);
        }
    }
}
