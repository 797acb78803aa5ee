//! A call that is told of comes in; what the policies say about it goes with it, and an event of its own where it matters.

use jiff::Timestamp;

use crate::enforce;
use crate::enforce::Panic;
use crate::policy::{Engine, Facts};
use crate::report::event::{Decision, Ruled};
use crate::report::{CallEvent, Event};

use super::clock::Clock;
use super::pipeline::Pipeline;

/// What the policies say about a call of which everything is known that will be.
fn decide(engine: &Engine, event: &CallEvent, now: Timestamp) -> crate::policy::Decision {
    let mut facts = Facts::default();
    if let Some(workload) = &event.process.workload {
        facts.set_workload(workload);
    }
    facts.set_call(&event.call, event.identity.as_ref());
    engine.decide(&facts, now)
}

impl Pipeline {
    /// Judges a call. One that an enforcing policy refuses has left already, as the kernel could not know enough: its
    /// connection is cut, so that there is no next one.
    pub(super) fn judge(&self, event: &mut CallEvent, cookie: u64) {
        self.stop(event, cookie);
        let engine = self.policies.engine();
        if engine.set().is_empty() {
            return;
        }
        let decision = decide(&engine, event, event.time);
        if decision.is_notable() {
            let refuses = decision.effect().refuses();
            let pid = event.process.pid.filter(|_| refuses && self.enforces && cookie != 0);
            let cut = pid.map_or(0, |pid| enforce::cut(&[(cookie, pid)]).cut);
            self.status.refused_cut(cut);
            let ruling = decision.binding.as_ref().filter(|_| refuses).unwrap_or(&decision.ruling);
            self.send(Event::Decision(Decision {
                time: event.time,
                process: event.process.clone(),
                server: event.server.clone(),
                provider: Some(event.call.provider.clone()),
                decision: ruling.effect.as_str(),
                ruling: Ruled::of(ruling),
                enforced: cut != 0,
                layer: "call",
                error: (cut != 0).then_some("ECONNABORTED"),
                reason: ruling.reason.as_deref().unwrap_or_default().to_owned(),
                bytes_sent: 0,
            }));
        }
        event.decision = Some(Box::new(decision));
    }

    /// Cuts the connection of a call that a panic about its key or model is to stop and that the gate could not judge, as
    /// over HTTP/2.
    fn stop(&self, event: &CallEvent, cookie: u64) {
        let Some(maps) = &self.alarms else { return };
        let key = event.identity.as_ref().map(|identity| identity.fingerprint.as_str());
        let model = event.call.request_model.as_deref();
        let Some(panic) = Panic::about(maps, (key, model), Clock::monotonic_ns()) else { return };
        let pid = event.process.pid.filter(|_| cookie != 0);
        let cut = pid.map_or(0, |pid| enforce::cut(&[(cookie, pid)]).cut);
        self.status.refused_cut(cut);
        self.send(Event::Decision(Decision {
            time: event.time,
            process: event.process.clone(),
            server: event.server.clone(),
            provider: Some(event.call.provider.clone()),
            decision: "deny",
            ruling: None,
            enforced: cut != 0,
            layer: "call",
            error: (cut != 0).then_some("ECONNABORTED"),
            reason: panic.reason,
            bytes_sent: 0,
        }));
    }
}
