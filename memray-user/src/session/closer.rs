//! Takes links off beside everything else: the kernel takes tens of milliseconds for each, and waits for whoever is in a
//! probe, held threads among them.

use std::{
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use crate::bpf::{self, Link};

/// A thread that drops what it is given.
#[derive(Debug)]
pub(super) struct Closer {
    work: Sender<Vec<Link>>,
    thread: JoinHandle<()>,
}

impl Closer {
    pub(super) fn start() -> Self {
        let (work, received) = channel::<Vec<Link>>();
        let thread = thread::spawn(move || {
            while let Ok(mut links) = received.recv() {
                // Whatever has come meanwhile goes with it, at no more waiting.
                links.extend(received.try_iter().flatten());
                bpf::close(links);
            }
        });
        Self { work, thread }
    }

    pub(super) fn close(&self, links: Vec<Link>) {
        if !links.is_empty() {
            // The thread ends after us.
            let _ended = self.work.send(links);
        }
    }

    /// Returns when all are off.
    pub(super) fn finish(self) {
        let Self { work, thread } = self;
        drop(work);
        // It panics only if the process ends.
        let _panicked = thread.join();
    }
}
