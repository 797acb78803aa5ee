//! Connections come in as they are and as they end; what all stages have counted since the start goes out.

use std::collections::HashMap;

use crate::http::Protocol;
use crate::report::metrics::{Protocols, StageMetrics};

use super::connection::Connection;

/// What the connections that are over have counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    over: StageMetrics,
}

impl Counted {
    /// Keeps what a connection has counted, before it is forgotten.
    pub(super) fn over(&mut self, connection: &Connection) {
        add(&mut self.over, connection);
        let protocols = &mut self.over.protocols;
        if let Some((decoder, _)) = connection.stages() {
            let counter = counter(protocols, decoder.protocol());
            *counter = counter.saturating_add(1);
        }
    }

    /// The sum over connections that are over and those still open.
    pub(super) fn all(&self, open: &HashMap<u64, Connection>) -> StageMetrics {
        let mut all = self.over;
        for connection in open.values() {
            add(&mut all, connection);
        }
        all
    }
}

fn counter(protocols: &mut Protocols, spoke: Option<Protocol>) -> &mut u64 {
    match spoke {
        Some(Protocol::Http1) => &mut protocols.http1,
        Some(Protocol::Http2) => &mut protocols.http2,
        Some(Protocol::Other) => &mut protocols.other,
        None => &mut protocols.undecided,
    }
}

fn add(sum: &mut StageMetrics, connection: &Connection) {
    let Some((decoder, tracker)) = connection.stages() else { return };
    if let Some(counted) = decoder.metrics() {
        sum.http1.add(&counted);
    }
    if let Some(counted) = decoder.http2_metrics() {
        sum.http2.add(&counted);
    }
    sum.provider.add(&tracker.metrics());
}
