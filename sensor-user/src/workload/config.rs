//! The bounds of this stage come in from the configuration; each names its unit and its reason.

use serde::Deserialize;
use serde::Serialize;

/// How much is remembered of processes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Processes remembered at once, ended ones included; each takes about 2 KiB.
    pub processes_max: usize,
    /// Seconds a process is remembered after its end, so that its last calls still find it.
    pub ended_keep_secs: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { processes_max: 8192, ended_keep_secs: 20 }
    }
}
