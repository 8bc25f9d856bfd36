//! Names and line tables of code objects, sent at their first sight so that a process that ends at once loses
//! nothing; and the death of code objects, whose addresses come back as others.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_attach_cookie, bpf_loop},
    macros::uprobe,
    programs::ProbeContext,
};
use memray_ebpf::{
    config::CodeOffsets,
    cookie::Cookie,
    event::{CodeFreedRecord, CodeRecord, LineTableRecord, RawString, RecordKind},
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

/// Callback over the frames of the record that is about to be sent: sends the names of those that are new.
pub(super) extern "C" fn announce<M: RemoteMemory + Default>(index: u32, context: *mut Context) -> u64 {
    // SAFETY: the context of `python_stack`, whose pointers are map values.
    let (thread, config, ids) = unsafe { (&*(*context).thread, &*(*context).target, (*context).ids) };
    if index >= thread.record.frame_count {
        return 1;
    }
    let Some(frame) = thread.record.frames.get(index as usize & (FRAMES_PER_RECORD - 1)) else {
        return 1;
    };
    let code = frame.code();
    if code == 0 || frame.owner() >= memray_ebpf::config::FrameOffsets::FIRST_SHIM_OWNER {
        return 0;
    }
    let key = CodeKey {
        pid: ids.pid,
        life: config.life,
        code,
    };
    if KNOWN_CODES.get_ptr(key).is_some() {
        return 0;
    }
    if send_code(&M::default(), &config.code, code, ids) {
        // A full table costs the names again with the next new stack.
        let _ = KNOWN_CODES.insert(key, 1, 0);
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
fn send_code<M: RemoteMemory + Default>(memory: &M, offsets: &CodeOffsets, code: u64, ids: Ids) -> bool {
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
    // SAFETY: the record is ours until it is submitted; every field is written.
    unsafe {
        (*record).header = header(RecordKind::Code, 0, 0, ids);
        (*record).code = code;
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
