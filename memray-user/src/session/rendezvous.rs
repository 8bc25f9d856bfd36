//! How `memray detach` finds the recording of a process: by a socket that is no file, and goes with its owner.
//!
//! Each recording listens at an abstract address with the number of its pid namespace and its own pid in it. Whoever
//! wants an end of the recording of a process asks all of them. A question is a pid on a line, an answer a word:
//! `unknown`, or `detached` when the probes are off. The connection is closed when the capture holds all of the process,
//! and is finished if it was the last.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::Uid,
};

use super::supervisor::SupervisorHandle;

const PREFIX: &str = "memray-ebpf/1/";
const DETACHED: &str = "detached";
const UNKNOWN: &str = "unknown";
/// Whoever connects and says nothing is not waited for.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// A recording can take a while to write what it has.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);
/// Longest question and answer.
const LINE_BYTES: u64 = 64;

/// Answers those who want an end. Dropped when the capture is whole, which lets them go.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    is_over: Arc<(Mutex<bool>, Condvar)>,
}

impl Rendezvous {
    /// Without it the recording is as good, but nobody finds it.
    pub(super) fn open(supervisor: SupervisorHandle) -> Self {
        let name = format!("{}{}", prefix(), std::process::id());
        let listener =
            SocketAddr::from_abstract_name(&name).and_then(|address| UnixListener::bind_addr(&address));
        let rendezvous = Self::default();
        let Ok(listener) = listener else {
            return rendezvous;
        };
        let is_over = Arc::clone(&rendezvous.is_over);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (supervisor, is_over) = (supervisor.clone(), Arc::clone(&is_over));
                thread::spawn(move || answer(&stream, &supervisor, &is_over));
            }
        });
        rendezvous
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        let (is_over, changed) = &*self.is_over;
        *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

fn answer(
    stream: &UnixStream,
    supervisor: &SupervisorHandle,
    is_over: &(Mutex<bool>, Condvar),
) -> Option<()> {
    if !is_trusted(stream) {
        return None;
    }
    stream.set_read_timeout(Some(QUESTION_TIMEOUT)).ok()?;
    let pid: u32 = read_line(stream).ok()?.parse().ok()?;
    let detached = supervisor.detach(pid);
    let word = if detached.is_some() { DETACHED } else { UNKNOWN };
    let mut writer = stream;
    writeln!(writer, "{word}").ok()?;
    if detached? {
        // The last of the recording, which ends now.
        let (is_over, changed) = is_over;
        let guard = is_over.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(guard, |is_over| !*is_over));
    }
    Some(())
}

/// What came of [`detach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Recordings that have let the process go.
    pub recordings: usize,
}

/// Ends every recording of a process, and returns when its capture is whole.
pub fn detach(pid: u32) -> io::Result<Detached> {
    let mut recordings = 0;
    for name in names(&fs::read_to_string("/proc/net/unix")?, &prefix()) {
        // One that has just ended is none to ask.
        let asked = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixStream::connect_addr(&address))
            .and_then(|stream| ask(&stream, pid));
        recordings += usize::from(asked.unwrap_or(false));
    }
    Ok(Detached { recordings })
}

fn ask(stream: &UnixStream, pid: u32) -> io::Result<bool> {
    if !is_trusted(stream) {
        return Ok(false);
    }
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut writer = stream;
    writeln!(writer, "{pid}")?;
    if read_line(stream)? != DETACHED {
        return Ok(false);
    }
    // To the end of the connection, of whatever kind: detached it is.
    let mut rest = io::Read::take(stream, LINE_BYTES);
    let _ended = io::copy(&mut rest, &mut io::sink());
    Ok(true)
}

/// Names of sockets in the table of the kernel (`unix_seq_show`, `net/unix/af_unix.c`), where `@` stands for the zero byte
/// of an abstract one.
fn names(table: &str, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = table
        .lines()
        .filter_map(|line| line.rsplit_once('@'))
        .map(|(_, name)| name)
        .filter(|name| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Pids are those of a namespace.
fn prefix() -> String {
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino());
    format!("{PREFIX}{namespace}/")
}

/// Root and we ourselves; anybody can listen at any abstract address.
fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == Uid::effective().as_raw())
}

fn read_line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, LINE_BYTES)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_found_in_the_kernels_table() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0: 2 0 10000 1 1 100 @memray-ebpf/1/7/12\n\
                     1: 3 0 0 1 3 101 @memray-ebpf/1/7/12\n\
                     2: 2 0 10000 1 1 102 @memray-ebpf/1/8/13\n\
                     3: 2 0 10000 1 1 103 @memray-ebpf/1/7/12x\n\
                     4: 2 0 10000 1 1 104 /run/@memray-ebpf/1/7/9\n\
                     5: 2 0 10000 1 1 105\n";
        assert_eq!(
            names(table, "memray-ebpf/1/7/"),
            ["memray-ebpf/1/7/12", "memray-ebpf/1/7/9"]
        );
        assert_eq!(names(table, "memray-ebpf/1/9/"), Vec::<String>::new());
    }
}
