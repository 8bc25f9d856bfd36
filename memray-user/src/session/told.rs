//! What a recording says on its way, to whoever shows it.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::Duration,
};

use super::supervisor::Notice;
use crate::store::StoreError;

/// Who is told.
pub trait Listener {
    /// Once, when the capture is there and all probes are in: for a program that is launched, before its first
    /// instruction.
    fn begun(&self);
    /// The program has ended and children of it are still recorded.
    fn waits_for_children(&self) {}
    /// The capture will not be whole. Each kind of trouble is told once, when it comes.
    fn has_trouble(&self, error: StoreError);
}

/// Notices of the supervisor; passes on what is for the listener.
pub(super) struct Told<'session, L> {
    pub(super) notices: Receiver<Notice>,
    pub(super) listener: &'session L,
}

impl<L: Listener> Told<'_, L> {
    /// Whether no process is left.
    pub(super) fn all_ended(&self) -> bool {
        loop {
            match self.notices.try_recv() {
                Ok(Notice::Trouble(error)) => self.listener.has_trouble(error),
                Ok(Notice::AllEnded) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    /// The same, after waiting for it for a while.
    pub(super) fn all_end_within(&self, patience: Duration) -> bool {
        match self.notices.recv_timeout(patience) {
            Ok(Notice::Trouble(error)) => {
                self.listener.has_trouble(error);
                false
            }
            Ok(Notice::AllEnded) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }

    /// What came while the recording was finished.
    pub(super) fn tell_the_rest(&self) {
        for notice in self.notices.try_iter() {
            if let Notice::Trouble(error) = notice {
                self.listener.has_trouble(error);
            }
        }
    }
}
