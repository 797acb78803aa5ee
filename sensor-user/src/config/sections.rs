//! The sections that belong to no stage alone: each field's comment is its documentation in the sample file.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::report::filter::wildcard;

/// Nanoseconds in a second.
const NS_PER_SEC: u64 = 1_000_000_000;

/// What the agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least level that is logged: "error", "warn", "info", "debug" or "trace", "off" for nothing; also by module, as
    /// `"info,sensor_user::http=debug"`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// When a process gets probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// When it shows that it talks to AI, or did before.
    Intent,
    /// Always: every process that maps a TLS library.
    Eager,
}

/// What is captured, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// When a process gets probes: "intent" (it talks to AI, or did before) or "eager" (every process).
    pub attach: Attach,
    /// Hold a first `ClientHello` to an AI provider back until the probes stand: the first request of a program
    /// never seen before is not missed, but takes at least 200 ms longer.
    pub hold_client_hello: bool,
    /// Have the kernel hurry while probes are set, about a millisecond each time (`/sys/kernel/rcu_expedited`): without,
    /// setting them takes up to 20 ms, and the first call of a short program near its provider is missed.
    pub expedite_probes: bool,
    /// Bytes of the ring that carries plaintext; a power of two.
    pub ring_bytes: u32,
    /// Seconds that a process with connections older than the agent keeps its probes without AI traffic.
    pub probation_seconds: u64,
    /// Remote ports that make such a process worth a look.
    pub scan_ports: Vec<u16>,
    /// Host names, besides those of the catalogue, that count as AI providers; `*` stands for any characters.
    pub intent_hosts: Vec<String>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            attach: Attach::Intent,
            hold_client_hello: false,
            expedite_probes: true,
            ring_bytes: sensor_common::limits::DATA_RING_BYTES,
            probation_seconds: 60,
            scan_ports: vec![443],
            intent_hosts: Vec::new(),
        }
    }
}

impl Capture {
    /// Whether every process gets probes.
    pub fn is_eager(&self) -> bool {
        self.attach == Attach::Eager
    }

    /// Probation in nanoseconds.
    pub fn probation_ns(&self) -> u64 {
        self.probation_seconds.saturating_mul(NS_PER_SEC)
    }

    /// Whether the name is one of the configured hosts.
    pub fn is_intent_host(&self, name: &str) -> bool {
        self.intent_hosts.iter().any(|pattern| wildcard(pattern, name))
    }
}

/// Where the agent keeps and finds things.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// Folder for what outlives the agent: learnt programs and the key of fingerprints.
    pub state: PathBuf,
    /// File with the 32-byte key of fingerprints in hex, so that a fleet agrees; made at first start when empty.
    pub fleet_key: PathBuf,
    /// More rows for the catalogue of providers, read again when they change; none when empty.
    pub providers: PathBuf,
    /// More rows for the price table; none when empty.
    pub prices: PathBuf,
    /// More rows for the table of builds without symbols, as `tollgate offsets learn` writes them; none when empty.
    pub tls_offsets: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            state: PathBuf::from("/var/lib/tollgate"),
            fleet_key: PathBuf::new(),
            providers: PathBuf::new(),
            prices: PathBuf::new(),
            tls_offsets: PathBuf::new(),
        }
    }
}

/// Which policies judge calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Folder of policy documents, or the one that `tollgate policy apply` keeps versions in; watched for changes. None when
    /// empty. Policies in mode "enforce" need `enforce.enabled`.
    pub folder: PathBuf,
}

/// How other commands reach the running agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix socket of `tollgate status` and `tollgate report`, for root alone; none when empty.
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/tollgate/agent.sock") }
    }
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Address of /metrics, /healthz and /readyz; empty for none.
    pub listen: String,
    /// Different values that one metric label may take before the rest is counted as "other".
    pub label_values_max: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned(), label_values_max: 200 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_hosts_are_anchored_at_both_ends() {
        const CASES: [(&str, &str, bool); 6] = [
            ("llm.corp.example", "llm.corp.example", true),
            ("llm.corp.example", "llm.corp.example.evil.test", false),
            ("*.corp.example", "llm.corp.example", true),
            ("*.corp.example", "corp.example", false),
            ("llm-*.example", "llm-eu.example", true),
            ("a*b*c", "aXbYc", true),
        ];
        for (pattern, name, is_match) in CASES {
            let capture = Capture { intent_hosts: vec![pattern.to_owned()], ..Capture::default() };
            assert_eq!(capture.is_intent_host(name), is_match, "{pattern} {name}");
        }
    }
}
