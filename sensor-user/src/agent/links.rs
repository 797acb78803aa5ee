//! Probe links come in; they are closed many at a time, because the kernel makes each close wait for its readers.

use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::thread;

use crate::bpf::ProbeLink;

/// Links closed at the same time; each costs a sleeping thread for up to a quarter of a second.
const AT_ONCE: usize = 64;
/// The same where many processes have ended at once: what is not closed holds descriptors.
const AT_ONCE_MAX: usize = 512;
/// Links that wait for each further thread.
const WAITING: usize = 8;
/// A closing thread calls next to nothing.
const STACK_BYTES: usize = 64 << 10;

/// Closes links as they come, until the channel ends.
pub(super) fn run(links: &Receiver<Vec<ProbeLink>>) {
    while let Ok(batch) = links.recv() {
        let more = links.try_iter().flatten();
        close(batch.into_iter().chain(more).collect());
    }
}

/// Closes all links and returns when they are gone.
pub(super) fn close(links: Vec<ProbeLink>) {
    let waiting = links.len();
    let workers = waiting.min((waiting / WAITING).clamp(AT_ONCE, AT_ONCE_MAX));
    let queue = Mutex::new(links.into_iter());
    let work = || while queue.lock().ok().and_then(|mut links| links.next()).is_some() {};
    thread::scope(|scope| {
        for _ in 0..workers {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            if thread.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        // Also where the machine gives no thread.
        work();
    });
}
