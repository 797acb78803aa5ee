//! Probe links come in; they are closed many at a time, because the kernel makes each close wait for its readers.

use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::thread;

use crate::bpf::ProbeLink;

/// Links closed at the same time; each costs a sleeping thread for up to a quarter of a second.
const AT_ONCE: usize = 64;

/// Closes links as they come, until the channel ends.
pub(super) fn run(links: &Receiver<Vec<ProbeLink>>) {
    while let Ok(batch) = links.recv() {
        let more = links.try_iter().flatten();
        close(batch.into_iter().chain(more).collect());
    }
}

/// Closes all links and returns when they are gone.
pub(super) fn close(links: Vec<ProbeLink>) {
    let workers = links.len().min(AT_ONCE);
    let queue = Mutex::new(links.into_iter());
    let work = || while queue.lock().ok().and_then(|mut links| links.next()).is_some() {};
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
}
