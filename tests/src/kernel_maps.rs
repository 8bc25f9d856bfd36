//! How much is in the maps that a running memray has in the kernel.
#![expect(unsafe_code, reason = "bpf(2) has no safe form")]

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

const BPF_MAP_GET_NEXT_KEY: i64 = 4;
const BPF_MAP_GET_FD_BY_ID: i64 = 14;
const BPF_OBJ_GET_INFO_BY_FD: i64 = 15;
const BPF_MAP_TYPE_HASH: u32 = 1;

/// `struct bpf_map_info` (include/uapi/linux/bpf.h) to the end of the name.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// Entries of each hash map of a process, by the map's name.
///
/// # Panics
/// If the process is not there or the kernel does not tell.
pub fn entries(pid: u32) -> BTreeMap<String, usize> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("memray runs");
    let mut found = BTreeMap::new();
    for entry in folder.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"));
        let Some(id) = id.and_then(|id| id.trim().parse::<u32>().ok()) else {
            continue;
        };
        let map = open(id).expect("a map of a running process can be opened");
        let info = info(&map).expect("the kernel tells of its maps");
        if info.kind == BPF_MAP_TYPE_HASH {
            let name = info.name.iter().take_while(|&&byte| byte != 0);
            let name = name.map(|&byte| char::from(byte)).collect();
            found.insert(name, count(&map, info.key_bytes));
        }
    }
    found
}

fn open(id: u32) -> io::Result<OwnedFd> {
    let mut request = [id, 0, 0];
    let descriptor = bpf(
        BPF_MAP_GET_FD_BY_ID,
        request.as_mut_ptr().cast(),
        size_of_val(&request),
    )?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor).map_err(io::Error::other)?) })
}

fn info(map: &OwnedFd) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let length = u64::try_from(size_of::<MapInfo>()).map_err(io::Error::other)?;
    // Descriptor and length, 32 bits each, then the address.
    let mut request = [descriptor(map) | length << 32, &raw mut info as u64];
    bpf(
        BPF_OBJ_GET_INFO_BY_FD,
        request.as_mut_ptr().cast(),
        size_of_val(&request),
    )?;
    Ok(info)
}

fn count(map: &OwnedFd, key_bytes: u32) -> usize {
    let mut key = vec![0u8; key_bytes as usize];
    let mut next = key.clone();
    let mut entries = 0;
    loop {
        let from = if entries == 0 { 0 } else { key.as_ptr() as u64 };
        let mut request = [descriptor(map), from, next.as_mut_ptr() as u64];
        if bpf(
            BPF_MAP_GET_NEXT_KEY,
            request.as_mut_ptr().cast(),
            size_of_val(&request),
        )
        .is_err()
        {
            return entries;
        }
        entries += 1;
        std::mem::swap(&mut key, &mut next);
    }
}

fn descriptor(map: &OwnedFd) -> u64 {
    u64::try_from(map.as_raw_fd()).unwrap_or(0)
}

fn bpf(command: i64, request: *mut u8, bytes: usize) -> io::Result<i64> {
    // SAFETY: the request is as large as said and points at memory that outlives the call.
    let result = unsafe { nix::libc::syscall(nix::libc::SYS_bpf, command, request, bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
