//! Tells when processes end, whoever their parents are.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::target::process::open_pidfd;

/// How long the end of the watch itself takes at most.
const TURN_MS: u16 = 50;
const ENDS_AT_ONCE: usize = 64;

/// A thread that waits for the ends of processes.
#[derive(Debug)]
pub(super) struct Ends {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    watched: Mutex<BTreeMap<u32, OwnedFd>>,
    is_over: AtomicBool,
}

impl Ends {
    /// `tell` is called once for each process that was watched and has ended, `turn` many times a second.
    pub(super) fn start(
        turn: impl Fn() + Send + 'static,
        tell: impl Fn(u32) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            watched: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || of_thread.run(turn, tell));
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches a process; an error if it is gone, reaped and all.
    pub(super) fn watch(&self, pid: u32) -> io::Result<()> {
        let descriptor = open_pidfd(pid)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, pid.into());
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.epoll.add(descriptor.as_fd(), event)?;
        watched.insert(pid, descriptor);
        Ok(())
    }

    pub(super) fn forget(&self, pid: u32) {
        self.shared
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pid);
    }
}

impl Shared {
    fn run(&self, turn: impl Fn(), tell: impl Fn(u32)) {
        let mut events = [EpollEvent::empty(); ENDS_AT_ONCE];
        while !self.is_over.load(Ordering::Relaxed) {
            let count = self
                .epoll
                .wait(&mut events, EpollTimeout::from(TURN_MS))
                .unwrap_or(0);
            turn();
            for event in &events[..count] {
                let Ok(pid) = u32::try_from(event.data()) else {
                    continue;
                };
                let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                // Closing the descriptor takes it out of the epoll.
                let was_watched = watched.remove(&pid).is_some();
                drop(watched);
                if was_watched {
                    tell(pid);
                }
            }
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only if the process ends.
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn tells_the_end_of_a_process_once() {
        let (sender, ended) = mpsc::channel();
        let ends = Ends::start(|| (), move |pid| sender.send(pid).unwrap()).unwrap();
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        ends.watch(child.id()).unwrap();
        assert_eq!(
            ended.recv_timeout(Duration::from_millis(20)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        drop(child.stdin.take());
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(child.id()));
        child.wait().unwrap();
        assert!(ends.watch(child.id()).is_err());
        drop(ends);
        assert!(ended.recv().is_err());
    }
}
