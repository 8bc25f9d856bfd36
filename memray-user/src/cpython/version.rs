//! Which CPython it is: from the packed number that 3.11 and later export, from text before.
//!
//! Input: `PY_VERSION_HEX` or `PY_VERSION`. Output: a [`PyVersion`], which all tables of this module are chosen
//! by. Pre-releases before the first candidate are not [supported](PyVersion::is_supported): their structures
//! still change.

use std::fmt;

/// Oldest and newest `(major, minor)` whose structures are known.
pub const SUPPORTED: ((u8, u8), (u8, u8)) = ((3, 8), (3, 15));

/// How far a version is; the values are those of `PY_RELEASE_LEVEL` (Include/patchlevel.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseLevel {
    Alpha = 0xa,
    Beta = 0xb,
    Candidate = 0xc,
    Final = 0xf,
}

/// A version of CPython, ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PyVersion {
    pub major: u8,
    pub minor: u8,
    pub micro: u8,
    pub level: ReleaseLevel,
    /// Number of the pre-release; 0 for a final version.
    pub serial: u8,
}

impl PyVersion {
    /// A final version.
    pub const fn new(major: u8, minor: u8, micro: u8) -> Self {
        Self {
            major,
            minor,
            micro,
            level: ReleaseLevel::Final,
            serial: 0,
        }
    }

    /// Unpacks `PY_VERSION_HEX`: `0x030c01f0` is 3.12.1 (Include/patchlevel.h). `None` if it is none of a
    /// Python 2 or 3.
    pub fn from_hex(packed: u32) -> Option<Self> {
        let [major, minor, micro, release] = packed.to_be_bytes();
        let level = match release >> 4 {
            0xa => ReleaseLevel::Alpha,
            0xb => ReleaseLevel::Beta,
            0xc => ReleaseLevel::Candidate,
            0xf => ReleaseLevel::Final,
            _ => return None,
        };
        matches!(major, 2 | 3).then_some(Self {
            major,
            minor,
            micro,
            level,
            serial: release & 0xf,
        })
    }

    /// Reads `PY_VERSION`, such as `3.9.18`, `3.10.0rc2` or `3.8.3+` (a build between two releases). The whole
    /// text must be a version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('+').unwrap_or(text);
        let mut parts = text.splitn(3, '.');
        let major = number(parts.next()?)?;
        let minor = number(parts.next()?)?;
        let rest = parts.next()?;
        let micro_end = rest
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(rest.len());
        let micro = number(&rest[..micro_end])?;
        let (level, serial) = match &rest[micro_end..] {
            "" => (ReleaseLevel::Final, 0),
            suffix => parse_level(suffix)?,
        };
        matches!(major, 2 | 3).then_some(Self {
            major,
            minor,
            micro,
            level,
            serial,
        })
    }

    pub const fn minor_version(self) -> (u8, u8) {
        (self.major, self.minor)
    }

    /// Whether the structures of this version are known and will not change any more.
    pub fn is_supported(self) -> bool {
        let (oldest, newest) = SUPPORTED;
        (oldest..=newest).contains(&self.minor_version()) && self.level >= ReleaseLevel::Candidate
    }
}

impl fmt::Display for PyVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.micro)?;
        let level = match self.level {
            ReleaseLevel::Alpha => "a",
            ReleaseLevel::Beta => "b",
            ReleaseLevel::Candidate => "rc",
            ReleaseLevel::Final => return Ok(()),
        };
        write!(formatter, "{level}{}", self.serial)
    }
}

fn parse_level(suffix: &str) -> Option<(ReleaseLevel, u8)> {
    let levels = [
        ("a", ReleaseLevel::Alpha),
        ("b", ReleaseLevel::Beta),
        ("rc", ReleaseLevel::Candidate),
    ];
    levels
        .into_iter()
        .find_map(|(name, level)| Some((level, number(suffix.strip_prefix(name)?)?)))
}

/// One to three digits and nothing else; `parse` alone would take a sign.
fn number(digits: &str) -> Option<u8> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hex(packed: u32, expect: Option<&str>) {
        let text = PyVersion::from_hex(packed).map(|version| version.to_string());
        assert_eq!(text.as_deref(), expect, "{packed:#x}");
    }

    #[test]
    fn packed_versions() {
        check_hex(0x030c_01f0, Some("3.12.1"));
        check_hex(0x030d_0ff0, Some("3.13.15"));
        check_hex(0x030f_00c2, Some("3.15.0rc2"));
        check_hex(0x030f_00a1, Some("3.15.0a1"));
        check_hex(0x0206_12b3, Some("2.6.18b3"));
        check_hex(0, None);
        check_hex(0x030c_0100, None);
        check_hex(0xffff_ffff, None);
    }

    fn check_text(text: &str, expect: Option<&str>) {
        let parsed = PyVersion::parse(text).map(|version| version.to_string());
        assert_eq!(parsed.as_deref(), expect, "{text:?}");
    }

    #[test]
    fn versions_in_text() {
        check_text("3.9.18", Some("3.9.18"));
        check_text("3.8.0", Some("3.8.0"));
        check_text("3.10.0rc2", Some("3.10.0rc2"));
        check_text("3.10.0b4+", Some("3.10.0b4"));
        check_text("2.7.18+", Some("2.7.18"));
        for wrong in [
            "", "3", "3.9", "3.9.", "3..1", "+3.9.1", "3.+9.1", "3.9.1.1", "3.9.18 ", "3.9.1c1", "3.9.300",
            "4.1.0", "3.9.18rc", "3.9.1++", "٣.9.1", "%.80s",
        ] {
            check_text(wrong, None);
        }
    }

    #[test]
    fn support_ends_at_both_sides_and_at_pre_releases() {
        let supported = |text| PyVersion::parse(text).unwrap().is_supported();
        assert!(supported("3.8.0") && supported("3.15.3") && supported("3.15.0rc1"));
        assert!(
            !supported("3.7.17") && !supported("3.16.0") && !supported("3.15.0b4") && !supported("2.7.18")
        );
    }

    #[test]
    fn versions_are_ordered_by_age() {
        let ages = [
            "3.9.18",
            "3.10.0a1",
            "3.10.0b1",
            "3.10.0rc1",
            "3.10.0rc2",
            "3.10.0",
            "3.10.1",
        ];
        assert!(ages.map(|text| PyVersion::parse(text).unwrap()).is_sorted());
    }
}
