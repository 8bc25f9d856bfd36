//! The programs that are compared: real ones of different kinds, each the same in every run.

/// A program in `tests/programs`, known by what is between `parity_` and `.py`.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// Of a C file beside it, whose library it loads.
    pub has_library: bool,
}

/// In the order in which they are compared.
pub const PROGRAMS: &[Program] = &[
    python("sqlalchemy"),
    python("records"),
    python("numpy"),
    python("pandas"),
    python("web"),
    python("asyncio"),
    python("pool"),
    python("commands"),
    python("buffers"),
    python("recursion"),
    python("benchmarks"),
    python("decimal"),
    Program {
        name: "other_ways",
        has_library: true,
    },
];

const fn python(name: &'static str) -> Program {
    Program {
        name,
        has_library: false,
    }
}

impl Program {
    pub fn find(name: &str) -> Option<Self> {
        PROGRAMS.iter().find(|program| program.name == name).copied()
    }
}
