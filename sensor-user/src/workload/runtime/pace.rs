//! A session with a runtime comes in, and is kept up for ever; when what is asked next goes out.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use super::Error;
use super::Standing;
use super::index::Index;

/// Pause before a runtime that failed is tried again; doubled up to the second figure.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
/// Pause between two looks for a socket that is not there.
const ABSENT_LOOK: Duration = Duration::from_secs(2);
/// Pause between two questions about a container that is not known yet; doubled up to the second figure.
pub(super) const QUESTION_PAUSES: [Duration; 2] =
    [Duration::from_millis(50), Duration::from_secs(1)];

/// Keeps a session with the runtime at a socket, over its restarts, until the task is dropped.
#[expect(
    clippy::infinite_loop,
    reason = "the task that follows a runtime is dropped, it never ends"
)]
pub(super) async fn keep<S>(
    socket: &Path,
    (source, index): (usize, &Index),
    session: impl Fn() -> S,
) where
    S: Future<Output = Result<Infallible, Error>>,
{
    let [shortest, longest] = PAUSES;
    let mut pause = shortest;
    loop {
        if !socket.exists() {
            index.stands(source, Standing::Absent);
            sleep(ABSENT_LOOK).await;
            continue;
        }
        let began = Instant::now();
        let Err(error) = session().await;
        index.stands(source, Standing::Failed(super::told(&error)));
        pause = if began.elapsed() > longest { shortest } else { pause };
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(longest);
    }
}

/// A time from now on.
pub(super) fn after(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

/// When containers that are not known are asked about next.
#[derive(Debug)]
pub(super) struct Questions {
    next: Option<Instant>,
    pause: Duration,
}

impl Questions {
    /// Whoever is asked about already is asked about at once.
    pub(super) fn new() -> Self {
        Self { next: Some(Instant::now()), pause: QUESTION_PAUSES[0] }
    }

    /// There is somebody new: at once.
    pub(super) fn ask(&mut self) {
        *self = Self::new();
    }

    /// They were asked about; where somebody is still not known, again after a while.
    pub(super) fn asked(&mut self, is_open: bool) {
        self.next = is_open.then(|| after(self.pause));
        self.pause = self.pause.saturating_mul(2).min(QUESTION_PAUSES[1]);
    }

    /// Waits until it is time; without anybody to ask about, for ever.
    pub(super) async fn due(&self) {
        match self.next {
            Some(time) => sleep_until(time).await,
            None => std::future::pending().await,
        }
    }
}
