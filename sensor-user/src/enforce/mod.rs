//! Orders and panics come in; the gate's maps in the kernel say the same goes out. What is in force there outlives the agent.

mod content;
mod destroy;
mod enforcer;
mod existing;
mod health;
mod keys;
mod leads;
mod orders;
mod panic;
mod proof;
mod scanner;
mod told;
mod words;

pub use destroy::{Cut, cut};
pub use enforcer::{Applied, Enforcer};
pub use existing::enrol;
pub use health::is_own as is_own_class;
pub use health::{Health, Layer, Proof};
pub use leads::{Leads, Place};
pub use orders::{Orders, Subjects};
pub use panic::{Panic, Scope};
pub use proof::{Places, places};
pub use told::{Order, Teller, Told};
pub use words::{destination, layer_word, reason_words};

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// What is enforced, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Load the gate: orders and panics are enforced in the kernel, also while no agent runs.
    pub enabled: bool,
    /// Folder of the bpf file system in which the gate is pinned.
    pub pins: PathBuf,
    /// File with the orders: who may not do what; none when empty.
    pub orders: PathBuf,
    /// Seconds between two proofs that the gate refuses; `/readyz` is red when one fails.
    pub proof_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            pins: PathBuf::from("/sys/fs/bpf/tollgate"),
            orders: PathBuf::new(),
            proof_seconds: 60,
        }
    }
}

/// What can go wrong in enforcing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("the gate")]
    Kernel(#[from] crate::bpf::Error),
    /// The orders are no orders.
    #[error("{path}: {problem}")]
    Orders {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A socket could not be cut or put under watch.
    #[error("{step}")]
    Socket {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}
