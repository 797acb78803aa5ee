//! What the agent found out comes in as events; lines on a terminal, JSON Lines, metrics and health answers go out.

mod attributes;
pub mod call;
pub mod doctor;
mod escape;
pub mod event;
pub mod filter;
pub mod metrics;
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
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}
