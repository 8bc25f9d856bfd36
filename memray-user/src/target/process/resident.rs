//! What of a process is in memory, by parts.

use crate::model::Resident;

/// From the text of `/proc/PID/status` (`task_mem`, `fs/proc/task_mmu.c`); None where it has no memory, as that of a thread
/// that has ended. The kernel makes the whole of the parts that it has just read, and so do we.
pub(super) fn parse_resident(status: &[u8]) -> Option<Resident> {
    let part = |name: &[u8]| {
        let value = status
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))?;
        let number = std::str::from_utf8(value).ok()?.trim().strip_suffix("kB")?;
        number.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    let (anon_bytes, file_bytes, shmem_bytes) = (part(b"RssAnon")?, part(b"RssFile")?, part(b"RssShmem")?);
    Some(Resident {
        rss_bytes: anon_bytes.checked_add(file_bytes)?.checked_add(shmem_bytes)?,
        anon_bytes,
        file_bytes,
        shmem_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_their_sum() {
        let check = |status: &str, expect: Option<[u64; 4]>| {
            let found = parse_resident(status.as_bytes());
            let found = found.map(|found| {
                [
                    found.rss_bytes,
                    found.anon_bytes,
                    found.file_bytes,
                    found.shmem_bytes,
                ]
            });
            assert_eq!(found, expect, "{status}");
        };
        check(
            "Name:\tRssAnon:\nVmRSS:\t    9 kB\nRssAnon:\t     4 kB\nRssFile:\t     3 kB\nRssShmem:\t     2 kB\n",
            Some([9216, 4096, 3072, 2048]),
        );
        for damaged in [
            "",
            "Name:\tx\n",
            "RssAnon:\t4 kB\nRssFile:\t3 kB\n",
            "RssAnon:\t4 MB\nRssFile:\t3 kB\nRssShmem:\t2 kB\n",
            "RssAnon:\t-4 kB\nRssFile:\t3 kB\nRssShmem:\t2 kB\n",
            "RssAnon:\t18446744073709551615 kB\nRssFile:\t3 kB\nRssShmem:\t2 kB\n",
        ] {
            check(damaged, None);
        }
    }
}
