//! One socket that speaks the CRI comes in; its list, its events and its answers about single containers go into the index.

use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::workload::About;

use super::Error;
use super::Standing;
use super::containerd;
use super::containerd::Containerd;
use super::containerd::Envelope;
use super::containerd::Said;
use super::cri::Cri;
use super::grpc::Client;
use super::index::Index;
use super::pace::Questions;
use super::pace::after;
use super::pace::keep;

/// Events that wait to be looked at; then the runtime waits.
const EVENTS_MAX: usize = 256;
/// Pods remembered of one runtime.
const PODS_MAX: usize = 4096;
/// Time between the first list and the second, which has what began while the first was made and events began to come.
const SECOND_LIST: Duration = Duration::from_secs(1);
/// How much more often a runtime without events is asked for its list.
const WITHOUT_EVENTS: u32 = 4;

/// Where what a runtime says goes.
pub(super) type Place = (usize, Arc<Index>);

/// Follows the runtime at a socket for ever, over its restarts.
pub(super) async fn follow(socket: PathBuf, (source, index): Place, every: Duration) {
    keep(&socket, (source, &index), || session(&socket, (source, &index), every)).await;
}

/// A connected runtime.
struct Session<'a> {
    /// None where containerd serves others than Kubernetes: Docker switches that part of it off.
    cri: Option<Cri>,
    who: String,
    containerd: Containerd,
    source: usize,
    index: &'a Index,
    has_events: bool,
}

/// Events on their way, and the task that brings them; it ends with this value.
struct Events {
    received: mpsc::Receiver<Result<Envelope, Error>>,
    task: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn session(
    socket: &Path,
    (source, index): (usize, &Index),
    every: Duration,
) -> Result<std::convert::Infallible, Error> {
    let client = Client::connect(socket).await?;
    let mut news = index.news();
    let containerd = Containerd::new(client.clone());
    let (cri, who) = match Cri::connect(client, PODS_MAX).await {
        Ok((cri, who)) => (Some(cri), who),
        Err(error) if error.is_unimplemented() => (None, containerd.who().await?),
        Err(error) => return Err(error),
    };
    // Before the list, so that nothing falls between the two.
    let mut events = listen(containerd.clone());
    let mut session = Session { cri, who, containerd, source, index, has_events: true };
    session.list().await?;
    session.connected();
    let (mut next_list, mut questions) = (after(SECOND_LIST), Questions::new());
    loop {
        tokio::select! {
            event = events.received.recv(), if session.has_events => match event {
                Some(Ok(envelope)) => session.on_event(&envelope).await?,
                Some(Err(error)) if error.is_unimplemented() => {
                    session.has_events = false;
                    session.connected();
                }
                Some(Err(error)) => return Err(error),
                None => return Err(Error::Broken("events have ended".to_owned())),
            },
            changed = news.changed() => {
                changed.map_err(|_gone| Error::Broken("nobody asks any more".to_owned()))?;
                questions.ask();
            }
            () = questions.due() => questions.asked(session.answer().await?),
            () = sleep_until(next_list) => {
                session.list().await?;
                let often = if session.has_events { 1 } else { WITHOUT_EVENTS };
                next_list = after(every.checked_div(often).unwrap_or(every).max(SECOND_LIST));
            }
        }
    }
}

/// Has a task bring events: the answer to the subscription itself may come with the first event only.
fn listen(containerd: Containerd) -> Events {
    let (sender, received) = mpsc::channel(EVENTS_MAX);
    let task = tokio::spawn(async move {
        let mut stream = match containerd.events().await {
            Ok(stream) => stream,
            Err(error) => {
                // Nobody listens any more: then nobody has to know.
                let _told = sender.send(Err(error)).await;
                return;
            }
        };
        while let Ok(Some(envelope)) = stream.message().await {
            if sender.send(Ok(envelope)).await.is_err() {
                return;
            }
        }
    });
    Events { received, task }
}

impl Session<'_> {
    fn connected(&self) {
        let (who, has_events) = (self.who.clone(), self.has_events);
        self.index.stands(self.source, Standing::Connected { who, has_events });
    }

    /// Takes the full list. One that is longer than is read is counted, and containers are asked about one by one.
    async fn list(&mut self) -> Result<(), Error> {
        let (index, source) = (self.index, self.source);
        let mut ids = HashSet::new();
        let mut found = |id: String, about| {
            index.learn(source, &id, about);
            ids.insert(id);
        };
        match self.list_into(&mut found).await {
            Ok(()) => index.listed(source, &ids),
            Err(error) => {
                index.list_failed();
                if !error.is_too_long() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn list_into(
        &mut self,
        found: &mut impl FnMut(String, (About, Option<u64>)),
    ) -> Result<(), Error> {
        if let Some(cri) = &mut self.cri {
            cri.list_all(|id, about| found(id, (about, None))).await?;
        }
        match self.containerd.list_all(found).await {
            // Another runtime has no interface of containerd's.
            Err(error) if error.is_unimplemented() && self.cri.is_some() => Ok(()),
            outcome => outcome,
        }
    }

    /// A container is about to run: who it is is known before its first instruction.
    async fn on_event(&mut self, envelope: &Envelope) -> Result<(), Error> {
        match envelope.said() {
            Some(Said::Begins { namespace, id, pid }) => {
                // Its process may be over before the question is answered.
                let cgroup = containerd::cgroup_of(pid);
                let about = match &mut self.cri {
                    Some(cri) if namespace == containerd::OF_PODS => cri.find(&id).await,
                    _ => self.containerd.find(Some(&namespace), &id).await,
                };
                if let Some(about) = answered(about)? {
                    self.index.learn(self.source, &id, (about, cgroup));
                }
            }
            Some(Said::Ended { id }) => {
                self.index.gone(&id);
                if let Some(cri) = &mut self.cri {
                    cri.forget(&id);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Answers what is asked about single containers; says whether something is left open.
    async fn answer(&mut self) -> Result<bool, Error> {
        let mut is_open = false;
        for wanted in self.index.wanted() {
            // What is known by this id may be another's: who asked is given an answer, or up.
            is_open |= wanted.owner.is_some();
            match self.find(&wanted.id).await? {
                Some(about) => self.index.learn(self.source, &wanted.id, (about, None)),
                None => is_open = true,
            }
        }
        Ok(is_open)
    }

    async fn find(&mut self, id: &str) -> Result<Option<About>, Error> {
        if let Some(cri) = &mut self.cri
            && let Some(about) = answered(cri.find(id).await)?
        {
            return Ok(Some(about));
        }
        // Whoever has no events of containerd's is another runtime.
        if self.has_events { answered(self.containerd.find(None, id).await) } else { Ok(None) }
    }
}

/// A question about one container that is refused leaves that container unknown; the runtime goes on answering others.
fn answered(found: Result<Option<About>, Error>) -> Result<Option<About>, Error> {
    match found {
        Err(error) if error.is_about_question() => Ok(None),
        found => found,
    }
}
