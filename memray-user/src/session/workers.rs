//! A few threads for what only waits for the kernel.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that can wait side by side.
const COUNT: usize = 8;

/// The threads, and the way to them.
#[derive(Debug)]
pub(super) struct Workers {
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start() -> Self {
        let (jobs, received) = channel::<Job>();
        let received = Arc::new(Mutex::new(received));
        let spawn = |_index| {
            let received = Arc::clone(&received);
            thread::Builder::new().spawn(move || work(&received)).ok()
        };
        Self {
            jobs,
            threads: (0..COUNT).filter_map(spawn).collect(),
        }
    }

    pub(super) fn none() -> Self {
        Self {
            jobs: channel().0,
            threads: Vec::new(),
        }
    }

    /// Without any thread it is done at once.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if self.threads.is_empty() {
            return job();
        }
        // They end after us.
        let _ended = self.jobs.send(Box::new(job));
    }

    /// Returns when all is done.
    pub(super) fn finish(self) {
        let Self { jobs, threads } = self;
        drop(jobs);
        for thread in threads {
            // It panics only if the process ends.
            let _panicked = thread.join();
        }
    }
}

fn work(received: &Mutex<Receiver<Job>>) {
    loop {
        let job = received.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn jobs_wait_side_by_side_and_all_are_done() {
        let workers = Workers::start();
        let barrier = Arc::new(Barrier::new(COUNT));
        let (sender, done) = channel();
        for number in 0..2 * COUNT {
            let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
            workers.run(move || {
                barrier.wait();
                sender.send(number).unwrap();
            });
        }
        workers.finish();
        drop(sender);
        let mut numbers: Vec<_> = done.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2 * COUNT).collect::<Vec<_>>());
    }
}
