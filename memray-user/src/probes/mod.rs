//! Which functions of which files are probed, at which instruction, and why there.
//!
//! Pure: files and code in, a [`ProbePlan`] out. Nothing here attaches anything.

mod functions;
mod holds;
mod plan;
mod prologue;

pub use self::{
    holds::{HoldPoint, hold_points, python_hold_points},
    plan::{ExtraProbe, ProbePlan, ProbePoint, SkipReason, SkippedFunction},
    prologue::{Placement, Reason, Unplaceable, jump_target, place},
};
