//! Numbers as people read them; every report formats through here.
//!
//! `web/js/units.js` does the same for the HTML reports. `web/test/cases.json` holds one table of cases that the
//! tests of both read. All arithmetic is on integers and rounds halves up, so that both agree in every digit.

/// Bytes in SI units as memray prints them in text reports: three decimals, `10.000MB`, `1.000B`.
pub fn size_text(bytes: u64) -> String {
    let (value, unit) = scaled(bytes, 1000);
    format!("{}.{:03}{unit}", value / 1000, value % 1000)
}

/// Bytes in SI units as memray prints them in HTML reports: one decimal, `30.7 MB`.
pub fn size_short(bytes: u64) -> String {
    let (value, unit) = scaled(bytes, 10);
    format!("{}.{} {unit}", value / 10, value % 10)
}

/// Share of `whole` in percent with two decimals and no sign: `48.78`; `0.00` of nothing.
pub fn percent_text(part: u64, whole: u64) -> String {
    let hundredths = if whole == 0 {
        0
    } else {
        rounded(u128::from(part) * 10_000, u128::from(whole))
    };
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A count with separated thousands: `1,234,567`.
pub fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time: `2.500 s`, `1 min 5 s`, `25 h 1 min 1 s`.
pub fn duration_text(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds}.{:03} s", milliseconds % 1000),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes) => format!("{hours} h {minutes} min {} s", seconds % 60),
    }
}

/// A moment in UTC: `2026-01-02 03:04:05.678`.
pub fn time_text(milliseconds_since_epoch: u64) -> String {
    let (days, of_day) = (
        milliseconds_since_epoch / 86_400_000,
        milliseconds_since_epoch % 86_400_000,
    );
    // Days are counted from 1 March of year 0, so that a leap day ends its year; an era has 400 years.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, millisecond) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

/// A moment in UTC to the second: `2026-01-02 03:04:05`.
pub fn moment_text(milliseconds_since_epoch: u64) -> String {
    let mut text = time_text(milliseconds_since_epoch);
    text.truncate(text.len() - ".678".len());
    text
}

/// The value in the largest unit that leaves at least one before the point, as a number of `1 / fractions`. What
/// rounds up to a thousand takes the next unit.
fn scaled(bytes: u64, fractions: u128) -> (u128, &'static str) {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut divisor = 1;
    for unit in UNITS {
        let value = rounded(u128::from(bytes) * fractions, divisor);
        if value < 1000 * fractions {
            return (value, unit);
        }
        divisor *= 1000;
    }
    unreachable!("a u64 has less than a thousand EB")
}

fn rounded(numerator: u128, denominator: u128) -> u128 {
    (2 * numerator + denominator) / (2 * denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str, format: impl Fn(&[u64]) -> Vec<String>) {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../web/test/cases.json")).expect("the table is JSON");
        let rows = cases[table].as_array().expect("the table has this part");
        assert!(!rows.is_empty());
        for row in rows {
            let row: Vec<&str> = row
                .as_array()
                .unwrap()
                .iter()
                .map(|cell| cell.as_str().unwrap())
                .collect();
            let inputs: Vec<u64> = row.iter().map_while(|cell| cell.parse().ok()).collect();
            let expect = format(&inputs);
            assert_eq!(row[row.len() - expect.len()..], expect, "{row:?}");
        }
    }

    #[test]
    fn shared_cases() {
        check("sizes", |input| vec![size_text(input[0]), size_short(input[0])]);
        check("percents", |input| vec![percent_text(input[0], input[1])]);
        check("counts", |input| vec![count_text(input[0])]);
        check("durations", |input| vec![duration_text(input[0])]);
        check("times", |input| vec![time_text(input[0])]);
        assert_eq!(moment_text(1_767_323_045_999), "2026-01-02 03:04:05");
        assert!(time_text(u64::MAX).starts_with(&moment_text(u64::MAX)));
    }
}
