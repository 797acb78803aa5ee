//! Work comes in; a named thread goes out, whose end is told of however it comes about.

use std::thread;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::mpsc;

/// Niceness of threads that others must not keep waiting: they work seldom and briefly.
const HURRY: i32 = -10;

/// Has the calling thread go before others; without the right to, it is only later.
pub(super) fn hurry() {
    let _hurried = rustix::process::nice(HURRY);
}

/// Says on its drop, however that comes about, that a thread has ended.
pub(super) struct Watched {
    pub(super) name: &'static str,
    pub(super) ended: mpsc::Sender<&'static str>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // There are as many places as threads; without a receiver the agent is stopping anyway.
        let _told = self.ended.try_send(self.name);
    }
}

/// Starts a thread that is watched.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    watched: Watched,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    let guarded = move || {
        let _watched = watched;
        work()
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .with_context(|| format!("starting the {name} thread"))
}

/// Waits for a thread's end, and gives what came of its work; a panic of it is an error.
pub(super) fn join<T>(name: &str, handle: JoinHandle<T>) -> anyhow::Result<T> {
    handle.join().map_err(|_panic| anyhow::anyhow!("the {name} thread panicked"))
}
