//! What the agent found out comes in as events; lines on a terminal, JSON Lines, metrics and health answers go out.

mod attributes;
pub mod call;
pub mod control;
pub mod coverage;
pub mod doctor;
pub mod escape;
pub mod event;
pub mod filter;
pub mod inventory;
pub mod metrics;
pub mod names;
pub mod server;
pub mod sinks;
pub mod totals;
mod words;

pub use call::CallEvent;
pub use doctor::Finding;
pub use event::Event;
pub use filter::Filter;
pub use metrics::Metrics;
pub use sinks::JsonLines;
pub use sinks::Sink;
pub use sinks::Terminal;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why something could not be reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The output was closed, or its disk is full.
    #[error("writing events")]
    Write(#[from] io::Error),
    /// A metric was described twice, or wrongly.
    #[error("making the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The address of the HTTP server is taken or not of this machine.
    #[error(
        "listening on {address}; what to do: end what listens there (`ss -ltnp`), or name another address with `report.listen`"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket cannot be opened.
    #[error("opening the control socket {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No agent answers.
    #[error("asking the agent at {}: is the agent running, and may this user open its socket?", path.display())]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The agent could not answer.
    #[error("the agent says: {0}")]
    Refused(String),
    /// A page or table could not be made.
    #[error("writing the report: {0}")]
    Render(String),
}
