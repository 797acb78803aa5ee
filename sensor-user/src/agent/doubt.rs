//! Connections without plaintext where there must be some come in; probes in wrong places are taken away, or set anew.

use crate::probes::Rejected;

use super::intent::Intent;
use super::notice::ToPipeline;

impl Intent {
    /// Takes the probes off a file whose places, found without symbols, have shown no plaintext.
    pub(super) fn doubt(&mut self, pid: u32, now: u64) {
        let Some(rejected) = self.registry.judge(pid, false) else { return };
        let processes = rejected.len();
        tracing::warn!(pid, processes, "places found without symbols are wrong; probes removed");
        self.status.rejected();
        for Rejected { pid, why, again } in rejected {
            self.release(pid);
            self.stacks.restart(pid);
            if again {
                self.attach(pid, why, now);
            } else {
                self.notify(ToPipeline::Blind { pid, reason: "probes_rejected" });
            }
        }
    }
}
