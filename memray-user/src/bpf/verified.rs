//! What the kernel's verifier makes of each program: its work bounds how long loading takes, and how much the programs
//! can grow before a kernel refuses them (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h: a million instructions).

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    programs::{ProgramFd, RawTracePoint, TracePoint},
};

use super::{
    error::BpfError,
    multi::MultiObject,
    programs::{RAW_TRACEPOINTS, TRACEPOINTS},
    recorder::{Bounds, Delivery, OBJECT, RecorderOptions, make_maps, map_fd, program},
    sites::Half,
    system::{machine_code, verified_instructions},
};

/// A program that the verifier has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedProgram {
    pub name: &'static str,
    /// Instructions that the verifier followed, over all paths.
    pub instructions: u32,
    /// Of the system call: the verifier and the compiler.
    pub load_time: Duration,
    /// The program runs on a stack of its CPU and not of its thread, by its machine code.
    pub has_private_stack: bool,
}

/// `add r9, gs:[...]`, with which the compiler of x86-64 makes the address of the CPU's stack (`emit_priv_frame_ptr`,
/// `arch/x86/net/bpf_jit_comp.c`, Linux 6.13 and later). It uses this register for nothing else.
const PRIVATE_STACK: [u8; 5] = [0x65, 0x4c, 0x03, 0x0c, 0x25];

/// Loads every program of a recording, attaches none, and drops them again. Needs multi-uprobe links (Linux 6.6).
pub fn verify_programs() -> Result<Vec<VerifiedProgram>, BpfError> {
    let options = RecorderOptions {
        delivery: Delivery::Lossless,
        bounds: Bounds::DEFAULT,
        follow_children: true,
        may_start_threads: false,
    };
    let mut ebpf = make_maps(OBJECT, options)?;
    let mut verified = Vec::new();
    let object = MultiObject::new(OBJECT, |name| ebpf.map(name).and_then(map_fd))?;
    for half in Half::ALL.into_iter().filter(|half| *half != Half::Keeper) {
        let since = Instant::now();
        let fd = object.load(half.program())?;
        verified.push(ask(half.program(), fd.as_fd(), since)?);
    }
    let mut of_tracepoints: Vec<_> = TRACEPOINTS.iter().map(|&(name, ..)| name).collect();
    of_tracepoints.sort_unstable();
    of_tracepoints.dedup();
    for name in of_tracepoints {
        let since = Instant::now();
        let fd = load(&mut ebpf, name, TracePoint::load, TracePoint::fd)?;
        verified.push(ask(name, fd.as_fd(), since)?);
    }
    for (name, _) in RAW_TRACEPOINTS {
        let since = Instant::now();
        let fd = load(&mut ebpf, name, RawTracePoint::load, RawTracePoint::fd)?;
        verified.push(ask(name, fd.as_fd(), since)?);
    }
    Ok(verified)
}

type AyaResult<T> = Result<T, aya::programs::ProgramError>;

fn load<'a, T>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
    load: fn(&mut T) -> AyaResult<()>,
    fd: fn(&T) -> AyaResult<&ProgramFd>,
) -> Result<&'a ProgramFd, BpfError>
where
    T: 'a,
    &'a mut T: TryFrom<&'a mut aya::programs::Program>,
{
    let failed = |source| BpfError::Load {
        program: name,
        source: Box::new(source),
    };
    let program: &'a mut T = program(ebpf, name)?;
    load(program).map_err(failed)?;
    fd(program).map_err(failed)
}

fn ask(name: &'static str, program: BorrowedFd<'_>, since: Instant) -> Result<VerifiedProgram, BpfError> {
    let load_time = since.elapsed();
    let failed = |source| BpfError::Information {
        program: name,
        source,
    };
    let code = machine_code(program).map_err(failed)?;
    Ok(VerifiedProgram {
        name,
        instructions: verified_instructions(program).map_err(failed)?,
        load_time,
        has_private_stack: code
            .windows(PRIVATE_STACK.len())
            .any(|bytes| bytes == PRIVATE_STACK),
    })
}
