//! Names and line tables of code objects, sent at their first sight so that a process that ends at once loses
//! nothing; and the death of code objects, whose addresses come back as others.
//!
//! Each code object has a serial, in its record and in the frames that are of it. Whatever else is lost, a frame finds
//! its own names or none. Two threads can meet a code object at one time: who enters it into `KNOWN_CODES` decides on the
//! serial, and who finds an entry whose record is not in the ring yet sends the same again.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_EXIST, BPF_NOEXIST},
    helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_loop},
    macros::uprobe,
    programs::ProbeContext,
};
use memray_ebpf::{
    config::{CodeOffsets, FrameOffsets},
    cookie::Cookie,
    event::{CodeFreedRecord, CodeRecord, LineTableRecord, RawFrame, RawString, RecordKind, flags},
    limits::{FRAMES_PER_RECORD, LINE_TABLE_CHUNK_BYTES, MAX_LINE_TABLE_CHUNKS, NAME_BYTES},
    memory::RemoteMemory,
    python::names::string_layout,
    stat::StatId,
    verifier::keep_thread_stack,
};

use super::{
    allocators::register,
    maps::{CodeKey, KNOWN_CODES, TARGETS, add, count},
    ring::{header, reserve, submit},
    stacks::Context,
    task::{Ids, ids},
};

/// Bits of a frame's serial between the two callbacks. In memory and not in registers, and in two callbacks, so that the
/// verifier follows what is to be done and why separately.
mod claim_bits {
    /// The code object is in the table.
    pub(super) const IS_KEPT: u64 = 2;
    /// This thread has put it there.
    pub(super) const IS_OURS: u64 = 4;
    pub(super) const ALL: u64 = 7;
}
const SERIAL_SHIFT: u32 = 3;

#[inline(always)]
fn frame_at(context: *mut Context, index: u32) -> Option<&'static mut RawFrame> {
    // SAFETY: the context of `python_stack`; a map value.
    let record = unsafe { &mut (*(*context).thread).record };
    if index >= record.frame_count {
        return None;
    }
    record.frames.get_mut(index as usize & (FRAMES_PER_RECORD - 1))
}

#[inline(always)]
fn key_of(context: *mut Context, code: u64) -> CodeKey {
    // SAFETY: the context of `python_stack`; a map value.
    let (pid, life) = unsafe { ((*context).ids.pid, (*(*context).target).life) };
    CodeKey { pid, life, code }
}

/// Callback over the frames of the record that is about to be sent: finds the serial of each, or gives one.
pub(super) extern "C" fn claim(index: u32, context: *mut Context) -> u64 {
    let Some(frame) = frame_at(context, index) else {
        return 1;
    };
    let code = frame.code();
    if code == 0 || frame.owner() >= FrameOffsets::FIRST_SHIM_OWNER {
        return 0;
    }
    let key = key_of(context, code);
    // Between two code objects at one address is a death, at least one trap into the kernel.
    // SAFETY: takes nothing, returns a number.
    let serial = unsafe { bpf_ktime_get_ns() } << SERIAL_SHIFT;
    // SAFETY: the context of `python_stack`; a map value.
    let sees_deaths = unsafe { (*(*context).target).sees_code_deaths } != 0;
    if KNOWN_CODES.get_ptr(key).is_none()
        && sees_deaths
        && KNOWN_CODES.insert(key, serial, BPF_NOEXIST.into()).is_ok()
    {
        frame.serial = serial | claim_bits::IS_KEPT | claim_bits::IS_OURS;
        return 0;
    }
    frame.serial = match KNOWN_CODES.get_ptr(key) {
        // SAFETY: a map value; what is removed meanwhile stays readable until the program ends.
        Some(value) => (unsafe { *value }) | claim_bits::IS_KEPT,
        None => serial,
    };
    0
}

/// Callback over the same frames: sends the names of those that have not been sent.
pub(super) extern "C" fn announce<M: RemoteMemory + Default>(index: u32, context: *mut Context) -> u64 {
    let Some(frame) = frame_at(context, index) else {
        return 1;
    };
    let claim = frame.serial;
    let serial = claim & !claim_bits::ALL;
    frame.serial = serial;
    if serial == 0 || claim & CodeRecord::IS_SENT != 0 {
        return 0;
    }
    let code = frame.code();
    let is_kept = claim & claim_bits::IS_KEPT != 0;
    let is_sent = send_code(&M::default(), context, claim, code);
    let key = key_of(context, code);
    if is_sent
        && is_kept
        && KNOWN_CODES
            .insert(key, serial | CodeRecord::IS_SENT, BPF_EXIST.into())
            .is_ok()
    {
        return 0;
    }
    // Its death may go unseen: what is said of this stack is good for this once.
    // SAFETY: the context of `python_stack`; a map value.
    unsafe { (*(*context).thread).is_unsure = 1 };
    if is_sent {
        return 0;
    }
    frame.serial = 0;
    if claim & claim_bits::IS_OURS != 0 {
        // The next walk tries again. Another thread may have seen the entry meanwhile, and be sure of a stack with this
        // code object, whose death will not be seen.
        let _ = KNOWN_CODES.remove(key);
        // SAFETY: the context of `python_stack`; a map value.
        add(unsafe { &raw mut (*(*context).target).code_epoch }, 1);
    }
    0
}

#[repr(C)]
struct LineTable {
    code: u64,
    data_address: u64,
    data_bytes: u64,
    ids: Ids,
}

#[inline(always)]
fn send_code<M: RemoteMemory + Default>(memory: &M, context: *mut Context, claim: u64, code: u64) -> bool {
    // SAFETY: the context of `python_stack`, whose pointers are map values.
    let (offsets, ids) = unsafe { (&(*(*context).target).code, (*context).ids) };
    let Some(mut entry) = reserve::<CodeRecord>(StatId::CodeRingFull) else {
        return false;
    };
    let record = entry.as_mut_ptr();
    let field = |offset: u32| code.wrapping_add(u64::from(offset));
    let file = memory.read_u64(field(offsets.file)).unwrap_or(0);
    let name = memory.read_u64(field(offsets.name)).unwrap_or(0);
    let line_table = memory.read_u64(field(offsets.line_table)).unwrap_or(0);
    let line_table_bytes = if line_table == 0 {
        0
    } else {
        memory
            .read_u64(line_table.wrapping_add(u64::from(offsets.bytes_size)))
            .unwrap_or(0)
    };
    let first_line = memory.read_u32(field(offsets.first_line));
    // Without a branch, beyond which the verifier would follow everything twice.
    let is_passing = (!claim & claim_bits::IS_KEPT) >> claim_bits::IS_KEPT.trailing_zeros();
    let flags = is_passing as u16 * flags::NOT_REMEMBERED;
    // SAFETY: the record is ours until it is submitted; every field is written.
    unsafe {
        (*record).header = header(RecordKind::Code, 0, flags, ids);
        (*record).code = code;
        (*record).serial = claim & !claim_bits::ALL;
        (*record).line_table_address = line_table;
        (*record).line_table_bytes = line_table_bytes;
        (*record).first_line = first_line.unwrap_or(0) as i32;
        (*record).reserved = 0;
    }
    // SAFETY: as above.
    let (file_string, name_string) = unsafe { (&mut (*record).file, &mut (*record).name) };
    let file_complete = capture(memory, offsets, file, file_string);
    let name_complete = capture(memory, offsets, name, name_string);
    if first_line.is_err() || !file_complete || !name_complete {
        count(StatId::CodeFault);
    }
    submit(entry);
    let mut table = LineTable {
        code,
        data_address: line_table.wrapping_add(u64::from(offsets.bytes_data)),
        data_bytes: line_table_bytes,
        ids,
    };
    let table = &raw mut table;
    // SAFETY: the callback has the signature that the helper asks for, and its context lives on this stack.
    unsafe {
        bpf_loop(
            MAX_LINE_TABLE_CHUNKS,
            send_line_table::<M> as *mut core::ffi::c_void,
            table.cast(),
            0,
        );
    }
    true
}

/// Fills `string`; false if the characters could not be read.
#[inline(always)]
fn capture<M: RemoteMemory>(memory: &M, offsets: &CodeOffsets, address: u64, string: &mut RawString) -> bool {
    string.address = address;
    string.length = 0;
    string.state = 0;
    string.captured_bytes = 0;
    let Ok(layout) = string_layout(memory, address, offsets) else {
        return false;
    };
    string.length = layout.length;
    string.state = layout.state;
    let mut length = layout.data_bytes;
    if length > NAME_BYTES as u64 {
        length = NAME_BYTES as u64;
    }
    let data = string.data.as_mut_ptr();
    // SAFETY: the length is within the array.
    let data = unsafe { core::slice::from_raw_parts_mut(data, length as usize) };
    if memory.read_into(layout.data_address, data).is_err() {
        return false;
    }
    string.captured_bytes = length as u32;
    true
}

extern "C" fn send_line_table<M: RemoteMemory + Default>(index: u32, table: *mut LineTable) -> u64 {
    // SAFETY: the context of `send_code`.
    let table = unsafe { &*table };
    let offset = u64::from(index) * LINE_TABLE_CHUNK_BYTES as u64;
    if offset >= table.data_bytes {
        return 1;
    }
    let mut length = table.data_bytes - offset;
    if length > LINE_TABLE_CHUNK_BYTES as u64 {
        length = LINE_TABLE_CHUNK_BYTES as u64;
    }
    let Some(mut entry) = reserve::<LineTableRecord>(StatId::CodeRingFull) else {
        return 1;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted, and the length is within its data.
    let data = unsafe { core::slice::from_raw_parts_mut((&raw mut (*record).data).cast(), length as usize) };
    let read = M::default().read_into(table.data_address.wrapping_add(offset), data);
    if read.is_err() {
        count(StatId::CodeFault);
    }
    // SAFETY: as above; every field but the unused part of the data is written.
    unsafe {
        (*record).header = header(RecordKind::LineTable, 0, 0, table.ids);
        (*record).code = table.code;
        (*record).offset_bytes = offset as u32;
        (*record).data_bytes = if read.is_ok() { length as u32 } else { 0 };
    }
    submit(entry);
    u64::from(read.is_err())
}

/// `code_dealloc` of CPython (`PyCode_Type.tp_dealloc`), with the code object as its one operand.
#[uprobe]
pub(super) fn code_dealloc(context: ProbeContext) -> u32 {
    keep_thread_stack();
    let ids = ids();
    // SAFETY: takes the context of this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    let code = register(context.regs, Cookie::raw_operand(cookie, 0));
    let Some(target) = TARGETS.get_ptr_mut(ids.pid) else {
        return 0;
    };
    // SAFETY: a map value.
    let (life, epoch) = unsafe { ((*target).life, &raw mut (*target).code_epoch) };
    let key = CodeKey {
        pid: ids.pid,
        life,
        code,
    };
    if KNOWN_CODES.get_ptr(key).is_none() {
        return 0;
    }
    let _ = KNOWN_CODES.remove(key);
    // Threads of a free-threaded interpreter may do this at once.
    add(epoch, 1);
    if let Some(mut entry) = reserve::<CodeFreedRecord>(StatId::CodeRingFull) {
        entry.write(CodeFreedRecord {
            header: header(RecordKind::CodeFreed, 0, 0, ids),
            code,
        });
        submit(entry);
    }
    0
}
