//! A switch of the kernel comes in; while probes are set, the kernel waits for its readers at once instead of at leisure.
//!
//! The first probe after a pause waits for a grace period of the kernel's fork lock, 5 to 20 ms, in which a short program
//! has made its call. Expedited, it takes some ten microseconds and an interrupt to each busy processor. Kernels made for
//! real time do not heed the switch (`rcu_normal`).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The switch (kernel-parameters.txt, `rcupdate.rcu_expedited`).
const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// Longer than an agent beside this one leaves the switch on.
const PAUSE: Duration = Duration::from_millis(20);

/// The switch, where it is this agent's to use.
#[derive(Debug, Default)]
pub struct Hurry {
    switch: Option<Arc<File>>,
    marker: PathBuf,
}

/// The kernel hurries until this is dropped.
#[derive(Debug)]
pub(super) struct Hurried(Arc<File>);

impl Hurry {
    /// Takes the switch, unless somebody else has put it on. The file in the state folder says that it is in use, so that
    /// what a killed agent left on is put off by the next one.
    pub fn new(state: &Path) -> Self {
        let marker = state.join("rcu_expedited");
        let is_on = || fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "1");
        if is_on() {
            std::thread::sleep(PAUSE);
        }
        if is_on() {
            if !marker.exists() || fs::write(SWITCH, "0").is_err() {
                return Self::default();
            }
            tracing::info!("an agent that was killed had left {SWITCH} on: it is off again");
        }
        let opened =
            fs::write(&marker, "").and_then(|()| OpenOptions::new().write(true).open(SWITCH));
        match opened {
            Ok(switch) => Self { switch: Some(Arc::new(switch)), marker },
            Err(error) => {
                tracing::debug!(%error, "{SWITCH} is not used");
                Self::default()
            }
        }
    }

    /// Has the kernel hurry.
    pub(super) fn begin(&self) -> Option<Hurried> {
        let switch = self.switch.as_ref()?;
        switch.write_at(b"1", 0).ok()?;
        Some(Hurried(Arc::clone(switch)))
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        if self.switch.is_some() {
            // Left behind, it says no more than that this agent was here.
            let _removed = fs::remove_file(&self.marker);
        }
    }
}

impl Drop for Hurried {
    fn drop(&mut self) {
        if let Err(error) = self.0.write_at(b"0", 0) {
            tracing::warn!(%error, "{SWITCH} stays on; what to do: write 0 to it");
        }
    }
}
