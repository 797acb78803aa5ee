//! A gate that ought to stand comes in; proofs that it refuses go out as metrics and readiness, once a minute.

use std::path::PathBuf;

use sensor_common::gate::SCOPE_CONTENT;

use crate::bpf::{GateMaps, folder_of};
use crate::config::Config;
use crate::enforce;
use crate::enforce::Health;
use crate::report::Metrics;

use super::gate;

/// Proves that the gate refuses.
pub(super) struct Proofs {
    standing: Option<GateMaps>,
    enforces: bool,
    pins: PathBuf,
    folder: PathBuf,
    /// Rounds (seconds) between two proofs that the gate refuses.
    rounds_per_proof: u32,
    rounds: u32,
    faults: Vec<String>,
}

impl Proofs {
    /// Proofs of the gate of the configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            standing: None,
            enforces: config.enforce.enabled,
            pins: config.enforce.pins.clone(),
            folder: folder_of(&config.enforce.pins),
            rounds_per_proof: config.enforce.proof_seconds.max(1),
            rounds: 0,
            faults: Vec::new(),
        }
    }

    /// Whether readiness depends on proofs.
    pub(super) fn enforces(&self) -> bool {
        self.enforces
    }

    /// Counts and, when it is time, proves; returns why the gate does not enforce, if it does not.
    pub(super) fn round(&mut self, metrics: &Metrics) -> &[String] {
        if !gate::stands(&self.folder) {
            self.standing = None;
        } else if self.standing.is_none() {
            self.standing = GateMaps::open(&self.folder).ok();
        }
        for (name, count) in self.standing.iter().flat_map(GateMaps::counts) {
            metrics.set_stage_event("gate", name, count);
        }
        if self.rounds == 0 && self.enforces {
            self.prove(metrics);
        } else if self.rounds == 0 && self.standing.is_some() {
            gate::take_away_unless_panic(&self.pins);
        }
        self.rounds = self.rounds.saturating_add(1).checked_rem(self.rounds_per_proof).unwrap_or(0);
        &self.faults
    }

    fn prove(&mut self, metrics: &Metrics) {
        let Some(maps) = &mut self.standing else {
            self.faults = vec!["enforcement: no gate stands".to_owned()];
            return;
        };
        // The class of the proofs is judged by content too; nobody else's judging depends on it.
        let judges = maps.scopes().into_iter().filter(|(_, scope)| scope & SCOPE_CONTENT != 0);
        let judges_content = judges.filter(|(class, _)| !enforce::is_own_class(*class)).count() > 0;
        self.faults = match Health::probe(maps, &self.folder) {
            Ok(health) => {
                for proof in &health.proofs {
                    metrics.set_layer(proof.layer.as_str(), proof.fault.is_none());
                }
                health.faults(judges_content)
            }
            Err(error) => vec![format!("enforcement: {}", super::chain(&error))],
        };
        for fault in &self.faults {
            tracing::error!(fault, "this node does not enforce");
        }
    }
}
