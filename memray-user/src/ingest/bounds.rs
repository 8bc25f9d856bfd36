//! How much of what a program can show the collector keeps: a program with endless stacks or names costs the figures
//! their detail, and not the machine its memory.

/// What is beyond a bound is counted, and shown under a marker in place of what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestBounds {
    /// Nodes of the tree of stacks: a stack takes one for each frame that it does not share. Half as many sites, and half
    /// as many distinct frames.
    pub stacks: usize,
    /// Bytes of all distinct names of functions and files.
    pub name_bytes: usize,
}

impl Default for IngestBounds {
    fn default() -> Self {
        Self {
            stacks: 8 << 20,
            name_bytes: 512 << 20,
        }
    }
}

impl IngestBounds {
    pub fn sites(self) -> usize {
        self.stacks / 2
    }

    pub fn frames(self) -> usize {
        self.stacks / 2
    }
}

/// Numbers of stacks that are kept for each process, twice over: more than the programs in the kernel remember. One that
/// has not been used while so many new ones came is forgotten.
pub const MAX_STACK_NUMBERS: usize = 1 << 20;

/// Instructions of one code object whose lines are kept; those of others are decoded each time.
pub const MAX_INSTRUCTIONS_PER_CODE: usize = 1 << 16;
