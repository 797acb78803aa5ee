//! What the server did comes in; the ground truth of every call goes out, one line of JSON a call.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::harness::monotonic_ns;
use crate::lab::provider::usage::Usage;

/// Facts kept: fifty load runs of 20,000 calls.
const FACTS_MAX: usize = 1_000_000;

/// How the answer to a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The last byte of the body was handed to the connection.
    Complete,
    /// The server broke the answer off, as the scenario said.
    Aborted,
    /// The client (or something between) went away first.
    #[default]
    ClientGone,
}

/// Everything the server knows about one call. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Order in which calls arrived, from 1.
    pub number: u64,
    /// `id` knob of the scenario, or empty.
    pub scenario: String,
    /// Identifier in the answer (`chatcmpl-…`, `resp_…`, `msg_…`), or empty where the answer has none.
    pub id: String,
    /// `Host` or `:authority`, without port.
    pub host: String,
    /// Name in the `ClientHello`, or empty.
    pub sni: String,
    /// Method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Operation, such as `chat` or `messages`; empty for a path that is none of them.
    pub operation: String,
    /// Model asked for.
    pub model: String,
    /// Model named in the answer.
    pub served_model: String,
    /// Last four characters of the key.
    pub key_last4: String,
    /// Value of `x-stainless-retry-count`, which SDKs send, or of what gRPC sends.
    pub retry: Option<u32>,
    /// `User-Agent`.
    pub user_agent: String,
    /// Client's address, as the server sees it.
    pub peer: SocketAddr,
    /// Server's address.
    pub local: SocketAddr,
    /// Number of the connection, from 1; equal for calls on one connection.
    pub connection: u64,
    /// `http/1.1`, `h2` or `websocket`.
    pub protocol: String,
    /// Whether the connection was TLS.
    pub tls: bool,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body as sent (encoded).
    pub response_bytes: u64,
    /// Content encoding of the answer.
    pub encoding: String,
    /// Status code.
    pub status: u16,
    /// Whether the answer is a stream of events.
    pub stream: bool,
    /// Content pieces sent.
    pub chunks: u64,
    /// Usage of the call; `None` for a call that costs nothing (refused, listed, counted).
    pub usage: Option<Usage>,
    /// What the answer says the call cost, in dollars, where its service tells that (`OpenRouter`).
    pub cost_usd: Option<String>,
    /// Whether the usage was part of what was really sent.
    pub usage_on_wire: bool,
    /// First byte of the request (HTTP/1.1) or its complete head (HTTP/2).
    pub t_request_ns: u64,
    /// First token of the answer, or the whole of it where it is no stream; 0 if none was sent.
    pub t_first_token_ns: u64,
    /// Last byte of the answer handed to the connection, or the break.
    pub t_end_ns: u64,
    /// How the answer ended.
    pub outcome: Outcome,
}

/// The facts of a server, shared by its connections.
#[derive(Clone, Debug, Default)]
pub struct Facts(Arc<Mutex<Vec<Fact>>>);

impl Facts {
    /// Returns the calls that have ended so far, in the order they ended.
    pub fn all(&self) -> Vec<Fact> {
        self.0.lock().map(|facts| facts.clone()).unwrap_or_default()
    }

    /// Returns how many calls have ended so far.
    pub fn count(&self) -> usize {
        self.0.lock().map(|facts| facts.len()).unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Ok(mut facts) = self.0.lock() {
            facts.clear();
        }
    }

    fn push(&self, fact: Fact) {
        if let Ok(mut facts) = self.0.lock()
            && facts.len() < FACTS_MAX
        {
            facts.push(fact);
        }
    }
}

/// A fact in the making; it joins the others when dropped, whichever way the call ends.
#[derive(Debug)]
pub struct Pending {
    fact: Option<Fact>,
    facts: Facts,
}

impl Pending {
    /// Starts a fact that ends as [`Outcome::ClientGone`] unless something else happens.
    pub fn new(fact: Fact, facts: Facts) -> Self {
        Self { fact: Some(fact), facts }
    }

    /// Changes the fact while the call runs.
    pub fn update(&mut self, change: impl FnOnce(&mut Fact)) {
        if let Some(fact) = self.fact.as_mut() {
            change(fact);
        }
    }

    /// Records how the call ended, and files the fact.
    pub fn end(&mut self, outcome: Outcome) {
        if let Some(mut fact) = self.fact.take() {
            fact.outcome = outcome;
            fact.t_end_ns = monotonic_ns();
            self.facts.push(fact);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.end(Outcome::ClientGone);
    }
}
