//! What losses do to the figures: which of them are lower bounds, which still hold, which cannot be relied on.

use super::{Notice, NoticeKind};

/// Losses of what was allocated.
const ALLOCATIONS: [&str; 2] = ["allocation_ring_full", "map_ring_full"];
/// Losses after which what has ended can look alive, or the other way round.
const ENDS: [&str; 3] = ["free_forgotten", "unmap_ring_full", "undo_ring_full"];
/// Frees without a record. Their blocks have ended all the same; in captures of before that was so they are `lost`.
const FREES: &str = "free_ring_full";

/// `is_there` says whether there is a loss of this kind with this name.
pub(super) fn of(is_there: impl Fn(NoticeKind, &str) -> bool) -> Vec<Notice> {
    let lost = |reason: &str| is_there(NoticeKind::Lost, reason);
    let mut notices = Vec::new();
    let mut say = |kind, text: &str| {
        notices.push(Notice {
            kind,
            text: text.to_owned(),
        });
    };
    if ALLOCATIONS.into_iter().any(&lost) {
        say(
            NoticeKind::Lost,
            "what is missing is missing from every location: counts and bytes are at least those shown",
        );
    }
    if ENDS.into_iter().any(&lost) || lost(FREES) {
        say(
            NoticeKind::Lost,
            "leaks are not reliable: of some blocks and mappings it is not known whether they have ended",
        );
    } else if is_there(NoticeKind::Degraded, FREES) {
        say(
            NoticeKind::Degraded,
            "leaks are reliable: whatever is shown as never freed lives; what was temporary is not known of all blocks",
        );
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_has_its_sentence() {
        let check = |losses: &[&str], expect: &[&str]| {
            let notices = of(|kind, reason| {
                let is_degraded = reason == FREES && !losses.contains(&"old");
                losses.contains(&reason) && (kind == NoticeKind::Degraded) == is_degraded
            });
            let begins: Vec<&str> = notices
                .iter()
                .map(|notice| &notice.text[..notice.text.find(':').unwrap()])
                .collect();
            assert_eq!(begins, expect, "{losses:?}");
        };
        let (lower, exact, unsure) = (
            "what is missing is missing from every location",
            "leaks are reliable",
            "leaks are not reliable",
        );
        check(&[], &[]);
        check(&["stack_fault"], &[]);
        check(&["allocation_ring_full"], &[lower]);
        check(&["allocation_ring_full", "free_ring_full"], &[lower, exact]);
        check(&["free_ring_full", "old"], &[unsure]);
        check(&["free_ring_full", "free_forgotten"], &[unsure]);
        check(&["map_ring_full", "unmap_ring_full"], &[lower, unsure]);
        check(&["undo_ring_full"], &[unsure]);
    }
}
