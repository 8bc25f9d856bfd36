//! A profile with the process as outermost frame of every stack.
//!
//! Processes share the capture's stacks: a worker and its parent that call the same functions have the same ones. Here
//! each process gets its own copy of those in which it allocated, below a frame that names it. What belongs to no known
//! process stands under a frame that says so, so that sums over the profile stay those of the view.

use std::collections::BTreeMap;

use super::{
    Figures, Profile,
    processes::{PROCESS_UNKNOWN, process_of_thread, processes},
    profile::{ProcessFrames, ProfileStack, index},
};
use crate::model::{CaptureError, CaptureMetadata, CaptureSource, FrameKind, FrameRow, ProcessId, View};

/// Stacks that copies may make beyond twice those of the capture. A file in which thousands of processes claim one
/// stack of a million frames would fill the memory.
const MOST_COPIES: usize = 4 << 20;

impl Profile {
    /// As [`Profile::load`]; where the capture has more than one process, each stack begins with its process.
    pub fn load_by_process(source: &dyn CaptureSource, view: View) -> Result<Self, CaptureError> {
        let profile = Self::load(source, view)?;
        let metadata = source.metadata()?;
        if metadata.processes.len() < 2 {
            return Ok(profile);
        }
        let limit = profile.stacks.len().saturating_mul(2).saturating_add(MOST_COPIES);
        Ok(split(profile, &metadata, limit))
    }
}

fn split(mut profile: Profile, metadata: &CaptureMetadata, limit: usize) -> Profile {
    let before = &profile.stacks;
    let mut stacks: Vec<ProfileStack> = Vec::new();
    let mut sites = profile.sites.clone();
    let mut frames = Vec::new();
    // For each stack the last group that has a copy of it, and where that is.
    let mut copied_for = vec![0_u32; before.len()];
    let mut place = vec![0_u32; before.len()];
    for (group, (label, members)) in (1_u32..).zip(groups(&profile, metadata)) {
        let mut wanted = Vec::new();
        for &site in &members {
            let mut next = Some(sites[site].stack);
            while let Some(stack) = next.filter(|&stack| copied_for[stack as usize] != group) {
                copied_for[stack as usize] = group;
                wanted.push(stack);
                next = before[stack as usize].parent;
            }
        }
        if stacks.len() + wanted.len() >= limit {
            profile.process_frames = ProcessFrames::TooMany;
            return profile;
        }
        let root = index(stacks.len());
        let frame = index(profile.frames.len() + frames.len());
        frames.push(process_frame(label));
        stacks.push(ProfileStack {
            parent: None,
            frame,
            own: Figures::default(),
        });
        // Parents before children, as they were.
        wanted.sort_unstable();
        for stack in wanted {
            place[stack as usize] = index(stacks.len());
            let ProfileStack { parent, frame, .. } = before[stack as usize];
            stacks.push(ProfileStack {
                parent: Some(parent.map_or(root, |parent| place[parent as usize])),
                frame,
                own: Figures::default(),
            });
        }
        for site in members {
            let site = &mut sites[site];
            site.stack = place[site.stack as usize];
            stacks[site.stack as usize].own.add(site.figures);
        }
    }
    profile.frames.extend(frames);
    (profile.stacks, profile.sites) = (stacks, sites);
    profile.process_frames = ProcessFrames::Outermost;
    profile
}

/// The sites of each process that has any, in the order of processes; those of none that is known come last.
fn groups(profile: &Profile, metadata: &CaptureMetadata) -> Vec<(String, Vec<usize>)> {
    let process_of_thread = process_of_thread(metadata);
    let mut sites_of: BTreeMap<ProcessId, Vec<usize>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (position, site) in profile.sites.iter().enumerate() {
        match process_of_thread.get(&site.thread_id) {
            Some(&process_id) => sites_of.entry(process_id).or_default().push(position),
            None => unknown.push(position),
        }
    }
    let mut groups = Vec::new();
    for process in processes(metadata) {
        if let Some(sites) = sites_of.remove(&process.row.process_id) {
            groups.push((process.label(), sites));
        }
    }
    unknown.extend(sites_of.into_values().flatten());
    if !unknown.is_empty() {
        groups.push((PROCESS_UNKNOWN.to_owned(), unknown));
    }
    groups
}

fn process_frame(label: String) -> FrameRow {
    FrameRow {
        frame_id: 0,
        function: label,
        file: String::new(),
        line: 0,
        kind: FrameKind::Marker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{
            FrameFilter, FrameTree,
            testing::{CaptureBuilder, prefork},
        },
        model::{Allocator, SiteFigures, StackRow, ThreadRow},
    };

    /// Each stack with memory, outermost frame first.
    fn lines(profile: &Profile) -> Vec<String> {
        let tree = FrameTree::new(profile, FrameFilter::SHOW_ALL);
        let mut lines = Vec::new();
        for node in tree.nodes.iter().filter(|node| !node.own.is_zero()) {
            let mut line = format!(" {}", node.own.bytes);
            let mut current = node;
            while let Some(frame) = current.frame {
                line = format!(";{}{line}", profile.frame(frame).function);
                current = &tree.nodes[current.parent as usize];
            }
            lines.push(line);
        }
        lines
    }

    #[test]
    fn processes_that_share_stacks_are_told_apart() {
        let source = prefork();
        let profile = Profile::load_by_process(&source, View::HighWaterMark).unwrap();
        assert_eq!(profile.process_frames, ProcessFrames::Outermost);
        let server = |pid: &str| format!(";python3.12 server.py --workers 2 (pid {pid})");
        assert_eq!(
            lines(&profile),
            [
                format!("{};main 1000000", server("700")),
                format!("{};main;load 8000000", server("700")),
                format!("{};main;serve 4000000", server("701")),
                format!("{};main;serve 2000000", server("702, life 1")),
                ";convert --fast picture.png (pid 702, life 2);<no Python frame> 500000".to_owned(),
            ]
        );
        let merged = Profile::load(&source, View::HighWaterMark).unwrap();
        assert_eq!(profile.total, merged.total);
        assert_eq!(merged.process_frames, ProcessFrames::None);
        for (position, stack) in profile.stacks.iter().enumerate() {
            assert!(stack.parent.is_none_or(|parent| (parent as usize) < position));
        }
    }

    #[test]
    fn one_process_stays_as_it_is() {
        let mut source = CaptureBuilder::new();
        source.allocate(&[("main", "a.py", 1)], 10, 1);
        let profile = Profile::load_by_process(&source, View::All).unwrap();
        assert_eq!(lines(&profile), [";main 10"]);
        assert_eq!(profile.process_frames, ProcessFrames::None);
    }

    #[test]
    fn what_belongs_to_nobody_is_kept() {
        let mut source = prefork();
        // A thread of a process that is not there, and no thread at all.
        source.metadata.threads.push(ThreadRow {
            thread_id: 90,
            process_id: 90,
            tid: 90,
            name: String::new(),
        });
        let site = source.sites[0];
        for thread_id in [90, 91] {
            let bytes = 7;
            source.sites.push(SiteFigures {
                thread_id,
                bytes,
                ..site
            });
        }
        let profile = Profile::load_by_process(&source, View::HighWaterMark).unwrap();
        assert_eq!(lines(&profile).last().unwrap(), ";<process unknown>;main;load 14");
        assert_eq!(profile.total.bytes, 15_500_014);
    }

    /// Every process of the file claims the one deep stack.
    #[test]
    fn copies_are_bounded() {
        let mut source = prefork();
        let depth = 1000;
        source.stacks = (1..=depth)
            .map(|stack_id| StackRow {
                stack_id,
                parent_id: (stack_id > 1).then(|| stack_id - 1),
                frame_id: 1,
                depth: stack_id,
            })
            .collect();
        source.sites = (1..=4)
            .map(|thread_id| SiteFigures {
                stack_id: depth,
                thread_id,
                allocator: Allocator::Malloc,
                bytes: 1,
                count: 1,
            })
            .collect();
        let metadata = source.metadata.clone();
        let load = || Profile::load(&source, View::All).unwrap();
        let whole = split(load(), &metadata, 4005);
        assert_eq!(
            (whole.stacks.len(), whole.process_frames),
            (4004, ProcessFrames::Outermost)
        );
        let bounded = split(load(), &metadata, 4003);
        assert_eq!(bounded.process_frames, ProcessFrames::TooMany);
        assert_eq!((bounded.stacks.len(), bounded.total.bytes), (1000, 4));
    }
}
