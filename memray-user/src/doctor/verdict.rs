//! What all findings come to: which of memray's ways to record work here.

use serde::Serialize;

use super::finding::{Finding, State};
use crate::bpf::{KernelFeatures, Support, UprobeMulti};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `memray run`.
    pub run: Finding,
    /// `memray attach`, of the process that was asked for if there was one.
    pub attach: Finding,
    /// `--follow-fork`.
    pub follow_fork: Finding,
}

impl Verdict {
    /// `machine` are the findings that are true of any process.
    pub(super) fn new(
        machine: &[&[Finding]],
        process: Option<&[Finding]>,
        features: &KernelFeatures,
    ) -> Self {
        let of_machine: Vec<&Finding> = machine.iter().copied().flatten().collect();
        let mut of_process = of_machine.clone();
        of_process.extend(process.into_iter().flatten());
        let fast = features.uprobe_multi == UprobeMulti::Yes;
        let works = |name, text: &str| {
            if fast {
                return Finding::ok(name, text);
            }
            Finding::limited(
                name,
                format!("{text}; the older way is taken, which starts and ends slowly"),
            )
        };
        let run = judge("run", &of_machine, || {
            works("run", "programs can be started and recorded")
        });
        let attach = judge("attach", &of_process, || {
            works(
                "attach",
                if process.is_some() {
                    "this process can be recorded"
                } else {
                    "running processes can be recorded"
                },
            )
        });
        let follow_fork = judge("follow-fork", &of_process, || follow_fork(features));
        Self {
            run,
            attach,
            follow_fork,
        }
    }

    pub(super) fn findings(&self) -> [&Finding; 3] {
        [&self.run, &self.attach, &self.follow_fork]
    }
}

fn judge(name: &'static str, findings: &[&Finding], otherwise: impl FnOnce() -> Finding) -> Finding {
    let named = |state: State| -> Vec<&str> {
        let found = findings.iter().filter(|finding| finding.state == state);
        found.map(|finding| finding.name).collect()
    };
    // What is missing is why something is unknown, and the thing to mend first.
    let missing = named(State::Missing);
    let unknown = named(State::Unknown);
    let blocking = if missing.is_empty() { unknown } else { missing };
    if blocking.is_empty() {
        return otherwise();
    }
    Finding::missing(name, format!("stands in the way: {}", blocking.join(", ")))
}

/// A child can be held until its probes are in by a program that waits, and only multi links go in fast enough.
fn follow_fork(features: &KernelFeatures) -> Finding {
    let name = "follow-fork";
    let can_hold = features.sleepable_uprobes == Support::Yes && features.uprobe_multi == UprobeMulti::Yes;
    if can_hold {
        return Finding::ok(name, "children are held at birth until their probes are in");
    }
    Finding::limited(name, "what a child allocates before its probes are in is missed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::testing::good_machine;

    fn check(
        machine: &[Finding],
        process: Option<&[Finding]>,
        change: impl FnOnce(&mut KernelFeatures),
        expect: [&str; 3],
    ) {
        let mut features = good_machine().features;
        change(&mut features);
        let verdict = Verdict::new(&[machine], process, &features);
        let told = verdict
            .findings()
            .map(|finding| format!("{}: {}", finding.state.word(), finding.text));
        assert_eq!(told, expect);
    }

    #[test]
    fn what_works() {
        let fine = [Finding::ok("a", "")];
        check(
            &fine,
            None,
            |_features| {},
            [
                "ok: programs can be started and recorded",
                "ok: running processes can be recorded",
                "ok: children are held at birth until their probes are in",
            ],
        );
        check(
            &fine,
            Some(&fine),
            |features| features.sleepable_uprobes = Support::No,
            [
                "ok: programs can be started and recorded",
                "ok: this process can be recorded",
                "limited: what a child allocates before its probes are in is missed",
            ],
        );
        check(
            &fine,
            None,
            |features| features.uprobe_multi = UprobeMulti::No,
            [
                "limited: programs can be started and recorded; the older way is taken, which starts and ends slowly",
                "limited: running processes can be recorded; the older way is taken, which starts and ends slowly",
                "limited: what a child allocates before its probes are in is missed",
            ],
        );
    }

    #[test]
    fn what_stands_in_the_way() {
        let unknown = Finding::new(State::Unknown, "c", "");
        let limited = Finding::limited("b", "");
        let told = "missing: stands in the way: c";
        check(
            &[limited.clone(), unknown.clone()],
            None,
            |_features| {},
            [told, told, told],
        );
        let told = "missing: stands in the way: a, d";
        let broken = [
            Finding::missing("a", ""),
            limited,
            unknown,
            Finding::missing("d", ""),
        ];
        check(&broken, None, |_features| {}, [told, told, told]);
        // A process that cannot be recorded says nothing about others.
        let told = "missing: stands in the way: interpreter";
        check(
            &[],
            Some(&[Finding::missing("interpreter", "")]),
            |_features| {},
            ["ok: programs can be started and recorded", told, told],
        );
    }
}
