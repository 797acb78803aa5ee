//! Sockets and folders of container runtimes come in; what they say of their containers and pods goes into one index.

mod about;
mod config;
mod containerd;
mod cri;
mod docker;
mod grpc;
mod index;
mod pace;
mod podman;
mod session;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use about::About;
pub use about::Labels;
pub use about::Pod;
pub use config::Config;
pub use index::Index;
pub use index::Metrics;

pub(in crate::workload) use index::Cell;

/// Longest wait for one answer of a runtime; one that hangs is left then, and tried again.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of the longest list that is read: some 10,000 containers. A longer one counts as failed, and containers are
/// asked about one by one.
const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the longest answer about one container.
const ONE_BYTES_MAX: usize = 1024 * 1024;

/// Why a runtime does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket does not answer.
    #[error("connecting to the runtime")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A question was refused.
    #[error("asking the runtime: {what}")]
    Refused {
        /// The question.
        what: String,
        /// What it said.
        #[source]
        source: Box<tonic::Status>,
    },
    /// No answer came in time.
    #[error("the runtime does not answer: {0}")]
    Slow(String),
    /// The answer is none.
    #[error("reading what the runtime says: {0}")]
    Broken(String),
    /// A file could not be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How a source fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not tried yet.
    Starting,
    /// It is not on this machine.
    Absent,
    /// It answers.
    Connected {
        /// Its name and version, as it says.
        who: String,
        /// Whether it tells of each container by itself.
        has_events: bool,
    },
    /// It is there and does not answer; why.
    Failed(String),
}

/// One socket or folder that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `cri`, `docker`, `podman`.
    pub kind: &'static str,
    /// The socket or folder.
    pub path: PathBuf,
    /// How it fares.
    pub standing: Standing,
    /// Containers in its last full list.
    pub containers: u64,
    /// Full lists it gave.
    pub lists: u64,
    /// How often it was connected to.
    pub connections: u64,
}

impl Source {
    fn new(kind: &'static str, path: &Path) -> Self {
        let path = path.to_owned();
        let standing = Standing::Starting;
        Self { kind, path, standing, containers: 0, lists: 0, connections: 0 }
    }

    /// Whether it may know a container. Podman's first one is there as soon as its files are, in a home too.
    fn is_asked(&self) -> bool {
        self.standing != Standing::Absent || self.kind == "podman"
    }

    /// The user whose runtime it is: who owns the folder of a socket may say anything there.
    fn owner(&self) -> Option<u32> {
        let below = self.path.strip_prefix("/run/user").ok()?;
        below.iter().next()?.to_str()?.parse().ok()
    }

    /// Whether it answers.
    pub fn is_connected(&self) -> bool {
        matches!(self.standing, Standing::Connected { .. })
    }
}

/// The sources of a configuration, in the order in which they are followed.
fn sources(config: &Config) -> Vec<Source> {
    let kinds = [("cri", &config.cri), ("docker", &config.docker)];
    let sockets = kinds.into_iter().flat_map(|(kind, paths)| {
        // `/var/run` is a link to `/run`: a socket is asked once, whatever it is called.
        let mut known = HashSet::new();
        let is_first = move |path: &&PathBuf| {
            known.insert(path.canonicalize().unwrap_or_else(|_| (*path).clone()))
        };
        paths.iter().filter(is_first).map(move |path| Source::new(kind, path)).collect::<Vec<_>>()
    });
    sockets.chain(config.podman.first().map(|path| Source::new("podman", path))).collect()
}

/// An index for the sources of a configuration.
pub fn index(config: &Config) -> Arc<Index> {
    Arc::new(Index::new(config.containers_max, sources(config)))
}

/// Follows all runtimes of a configuration; never returns, unless one of its tasks has ended, which is a bug.
/// `users` is the host's user database: homes in it may hold containers of podman.
pub async fn follow(config: Config, users: PathBuf, index: Arc<Index>) {
    let mut tasks = JoinSet::new();
    for (at, source) in index.sources().into_iter().enumerate() {
        let index = Arc::clone(&index);
        let every = Duration::from_secs(config.list_secs.max(1));
        match source.kind {
            "cri" => tasks.spawn(session::follow(source.path, (at, index), every)),
            "docker" => tasks.spawn(docker::follow(source.path, (at, index), every)),
            _ => {
                let places = (config.podman.clone(), users.clone());
                tasks.spawn(podman::follow(places, (at, index), every))
            }
        };
    }
    // Without any source there is nothing to do, ever.
    if tasks.is_empty() {
        std::future::pending::<()>().await;
    }
    let _ended = tasks.join_next().await;
}

/// What bytes say of containers when they are read as an answer of each kind of runtime.
pub fn said(bytes: &[u8]) -> Vec<(String, About)> {
    [cri::said(bytes), containerd::said(bytes), docker::said(bytes), podman::said(bytes)].concat()
}

/// The containers that bytes name when they are read as events, once whole and once cut at a place.
pub fn named(bytes: &[u8], at: usize) -> [Vec<String>; 2] {
    let whole = containerd::named(bytes).into_iter();
    [whole.chain(docker::named(bytes, 0)).collect(), docker::named(bytes, at)]
}

/// An error with its causes, on one line: what a runtime is reported to have said.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Some errors of libraries hold their cause already.
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.truncate(text.floor_char_boundary(TOLD_BYTES_MAX));
    text
}

/// Bytes kept of what a runtime says of its troubles.
const TOLD_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests;
