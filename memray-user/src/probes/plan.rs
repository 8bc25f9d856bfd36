//! From the objects of a process to the list of probes.

use std::{fmt, path::PathBuf};

use memray_ebpf::{
    allocator::Allocator,
    cookie::{Cookie, Register, Role},
};
use rustc_hash::FxHashMap;

use super::{
    functions::{FUNCTIONS, Function},
    prologue::{self, Placement, Unplaceable, place},
};
use crate::target::{
    elf::{ElfFile, Symbol, SymbolKind},
    process::{Device, MappedObject},
};

/// Most bytes of a function that are looked at. The allocator functions known are a few kilobytes long.
const FUNCTION_BYTES: usize = 1 << 16;
/// Bytes looked at where a symbol has no size, or where there is no symbol.
const UNSIZED_FUNCTION_BYTES: usize = 256;
/// Enough for `endbr64` and a jump with prefixes.
const STUB_BYTES: usize = 32;

/// A probe that no symbol table knows of: a function whose address was read from the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraProbe {
    /// Address of the function in the process.
    pub avma: u64,
    /// What the plan calls it.
    pub function: String,
    pub role: Role,
    pub allocator: Option<Allocator>,
    /// Registers of its operands at the entry, in the order of [`Role`].
    pub operands: Vec<Register>,
}

impl ExtraProbe {
    /// The function that destroys code objects (`PyCode_Type.tp_dealloc`), of which each is an event.
    pub fn code_dealloc(avma: u64) -> Self {
        Self {
            avma,
            function: "code_dealloc".to_owned(),
            role: Role::CodeDealloc,
            allocator: None,
            operands: vec![Register::Rdi],
        }
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// The file to attach to: a path that leads the kernel to the mapped file, whatever it is called.
    pub object: PathBuf,
    /// What the process calls the file.
    pub path: PathBuf,
    /// Of the probed instruction.
    pub file_offset: u64,
    pub function: String,
    /// None for [`Role::CodeDealloc`].
    pub allocator: Option<Allocator>,
    pub role: Role,
    /// A return probe at the same place is needed.
    pub has_return: bool,
    /// A packed [`Cookie`].
    pub cookie: u64,
    /// Bytes from the function's entry, the registers, and why there.
    pub placement: Placement,
}

/// A function that an object defines but that gets no probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFunction {
    pub path: PathBuf,
    pub function: String,
    pub reason: SkipReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Another name of a function that has a probe; calls are counted under that name.
    SameFunctionAs(String),
    /// It is only a jump to a function that is probed itself.
    ForwardsTo(&'static str),
    /// The allocator that the dynamic loader uses before libc is there.
    DynamicLoader,
    /// `static` in C: only its own file calls it, which says nothing about what it does.
    NotGlobal,
    /// Not a function of its own (`STT_GNU_IFUNC` and data).
    NotAFunction,
    /// The file has no bytes there, or no object is mapped there.
    NoCode,
    /// The kernel refuses a probe there.
    Refused,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameFunctionAs(name) => write!(formatter, "the same function as {name}"),
            Self::ForwardsTo(name) => write!(formatter, "only jumps to {name}"),
            Self::DynamicLoader => formatter.write_str("belongs to the dynamic loader"),
            Self::NotGlobal => formatter.write_str("is local to its file"),
            Self::NotAFunction => formatter.write_str("is no ordinary function"),
            Self::NoCode => formatter.write_str("has no code in the file"),
            Self::Refused => formatter.write_str("begins with an instruction that the kernel does not probe"),
        }
    }
}

/// All probes for one process, in the order of its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePlan {
    pub points: Vec<ProbePoint>,
    pub skipped: Vec<SkippedFunction>,
}

impl ProbePlan {
    /// Objects without allocator functions add nothing, so all objects of a process can be given.
    pub fn new<'object>(
        objects: impl Iterator<Item = (&'object MappedObject, &'object ElfFile)>,
        extra: &[ExtraProbe],
    ) -> Self {
        let mut planner = Planner::default();
        let mut found = vec![false; extra.len()];
        for (object, elf) in objects {
            planner.add_functions(object, elf);
            for (probe, found) in extra.iter().zip(&mut found) {
                if object.avma_range.contains(&probe.avma) {
                    *found = true;
                    planner.add_extra(object, elf, probe);
                }
            }
        }
        for (probe, _) in extra.iter().zip(found).filter(|(_, found)| !found) {
            planner.skip(PathBuf::new(), &probe.function, SkipReason::NoCode);
        }
        planner.plan
    }

    /// A single probe that no symbol table knows of, in the object that has its address.
    pub fn extra(object: &MappedObject, elf: &ElfFile, probe: &ExtraProbe) -> Self {
        let mut planner = Planner::default();
        if object.avma_range.contains(&probe.avma) {
            planner.add_extra(object, elf, probe);
        }
        planner.plan
    }

    /// The probes that cost ten times as much as others, which somebody who wonders about a slow program wants to
    /// know.
    pub fn single_stepped(&self) -> impl Iterator<Item = &ProbePoint> {
        self.points.iter().filter(|point| !point.placement.is_emulated())
    }
}

impl fmt::Display for ProbePlan {
    /// A line for each probe and each function without one.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in &self.points {
            let kind = if point.has_return {
                "entry and return"
            } else {
                "entry"
            };
            writeln!(
                formatter,
                "{}: {}+{} at {:#x}, {kind}, {}",
                point.path.display(),
                point.function,
                point.placement.offset,
                point.file_offset,
                point.placement.reason,
            )?;
        }
        for skipped in &self.skipped {
            writeln!(
                formatter,
                "{}: {} skipped: {}",
                skipped.path.display(),
                skipped.function,
                skipped.reason
            )?;
        }
        Ok(())
    }
}

/// A function's entry: where it is in which file.
type Entry = (Device, u64, u64);

#[derive(Default)]
struct Planner {
    plan: ProbePlan,
    /// Probed functions by entry.
    names: FxHashMap<Entry, String>,
}

/// What [`Planner::add`] needs to know of a function.
struct Candidate<'name> {
    name: &'name str,
    role: Role,
    allocator: Option<Allocator>,
    operands: &'name [Register],
    svma: u64,
    code_bytes: usize,
}

impl Planner {
    fn add_functions(&mut self, object: &MappedObject, elf: &ElfFile) {
        let symbols = elf.symbols_named(&FUNCTIONS.map(|function| function.name));
        let defined: Vec<(&Function, Symbol)> = FUNCTIONS
            .iter()
            .zip(symbols)
            .filter_map(|(function, symbol)| Some((function, symbol?)))
            .collect();
        // glibc's only: musl's loader is its C library.
        let is_loader = elf
            .soname()
            .is_some_and(|soname| soname.as_encoded_bytes().starts_with(b"ld-linux"));
        for (function, symbol) in &defined {
            let reason = if is_loader {
                Some(SkipReason::DynamicLoader)
            } else if symbol.kind != SymbolKind::Function {
                Some(SkipReason::NotAFunction)
            } else if !symbol.is_global {
                Some(SkipReason::NotGlobal)
            } else {
                forwards_to(elf, function, *symbol, &defined).map(SkipReason::ForwardsTo)
            };
            if let Some(reason) = reason {
                self.skip(object.path.clone(), function.name, reason);
                continue;
            }
            let candidate = Candidate {
                name: function.name,
                role: function.role,
                allocator: Some(function.allocator),
                operands: function.operands,
                svma: symbol.svma,
                code_bytes: code_bytes(symbol.size),
            };
            self.add(object, elf, &candidate);
        }
    }

    fn add_extra(&mut self, object: &MappedObject, elf: &ElfFile, probe: &ExtraProbe) {
        let candidate = Candidate {
            name: &probe.function,
            role: probe.role,
            allocator: probe.allocator,
            operands: &probe.operands,
            svma: probe.avma.wrapping_sub(object.bias),
            code_bytes: UNSIZED_FUNCTION_BYTES,
        };
        self.add(object, elf, &candidate);
    }

    fn add(&mut self, object: &MappedObject, elf: &ElfFile, candidate: &Candidate<'_>) {
        let code = elf.bytes_up_to(candidate.svma, candidate.code_bytes);
        let (Some(entry_offset), Some(code)) = (elf.svma_to_file_offset(candidate.svma), code) else {
            return self.skip(object.path.clone(), candidate.name, SkipReason::NoCode);
        };
        let entry = (object.device, object.inode, entry_offset);
        if let Some(name) = self.names.get(&entry) {
            // The same file mapped twice says it all again.
            if name != candidate.name {
                let reason = SkipReason::SameFunctionAs(name.clone());
                self.skip(object.path.clone(), candidate.name, reason);
            }
            return;
        }
        let placement = match place(&code, candidate.operands, candidate.role.has_return()) {
            Ok(placement) => placement,
            Err(Unplaceable) => return self.skip(object.path.clone(), candidate.name, SkipReason::Refused),
        };
        let cookie = Cookie {
            role: candidate.role,
            allocator: candidate.allocator.map_or(0, |allocator| allocator as u8),
            operands: placement.operands,
        };
        self.names.insert(entry, candidate.name.to_owned());
        self.plan.points.push(ProbePoint {
            object: object.open_path.clone(),
            path: object.path.clone(),
            file_offset: entry_offset + placement.offset,
            function: candidate.name.to_owned(),
            allocator: candidate.allocator,
            role: candidate.role,
            has_return: candidate.role.has_return(),
            cookie: cookie.pack(),
            placement,
        });
    }

    fn skip(&mut self, path: PathBuf, function: &str, reason: SkipReason) {
        let skipped = SkippedFunction {
            path,
            function: function.to_owned(),
            reason,
        };
        if !self.plan.skipped.contains(&skipped) {
            self.plan.skipped.push(skipped);
        }
    }
}

/// The function that a freeing function only jumps to, if that one is probed: glibc's `free_sized` is a jump to `free`,
/// directly or through the linkage table. Probed at both ends, one call would free twice, since a free has no return
/// probe by which the second would be known as nested.
fn forwards_to(
    elf: &ElfFile,
    function: &Function,
    symbol: Symbol,
    defined: &[(&Function, Symbol)],
) -> Option<&'static str> {
    if function.role != Role::Free || function.name == "free" {
        return None;
    }
    let distance = prologue::jump_target(&elf.bytes_up_to(symbol.svma, STUB_BYTES)?)?;
    let target = symbol.svma.wrapping_add_signed(distance);
    let is_target =
        |(other, symbol): &&(&Function, Symbol)| other.role == Role::Free && symbol.svma == target;
    if let Some((other, _)) = defined.iter().find(is_target) {
        return Some(other.name);
    }
    let is_stub = prologue::is_linkage_stub(&elf.bytes_up_to(target, STUB_BYTES)?);
    is_stub.then_some("free")
}

fn code_bytes(symbol_size: u64) -> usize {
    match usize::try_from(symbol_size) {
        Ok(0) => UNSIZED_FUNCTION_BYTES,
        Ok(size) => size.min(FUNCTION_BYTES),
        Err(_) => FUNCTION_BYTES,
    }
}

#[cfg(test)]
mod tests;
