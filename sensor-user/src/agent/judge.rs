//! A request that has been made, or a call that is over, comes in; what the policies say about it is done and told.

use std::sync::Arc;

use jiff::Timestamp;

use crate::enforce;
use crate::policy::{Decision, Effect, Engine, Facts};
use crate::provider::Call;
use crate::report::event::{self, Process, Ruled, Server};
use crate::report::{CallEvent, Event};

use super::connection::Connection;
use super::kill;
use super::pipeline::Pipeline;

/// Requests of one connection that were refused and whose calls are not over.
const CONDEMNED_MAX: usize = 256;

/// What the policies say about a call of which everything is known that will be.
fn decide(engine: &Engine, event: &CallEvent, now: Timestamp) -> Decision {
    let mut facts = Facts::default();
    if let Some(workload) = &event.process.workload {
        facts.set_workload(workload);
    }
    facts.set_call(&event.call, event.identity.as_ref());
    engine.decide(&facts, now)
}

/// Where and by whom a call was made.
struct Told<'a> {
    time: Timestamp,
    process: &'a Process,
    server: &'a Server,
    provider: &'a str,
    layer: &'static str,
    cut: usize,
    bytes_sent: u64,
}

impl Pipeline {
    /// Judges the requests that have been made since the last time. One that an enforcing policy refuses has left, as the
    /// kernel could not know enough; its connection is cut before the answer comes.
    pub(super) fn judge_requests(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let engine = self.policies.engine();
        let cookie = connection.socket.map_or(0, |socket| socket.cookie);
        let judged = self.enforces && cookie != 0 && !engine.set().is_empty();
        let asked = connection.take_asked(judged);
        for call in asked {
            self.judge_request(&engine, (id, cookie), &call);
        }
    }

    fn judge_request(&mut self, engine: &Arc<Engine>, (id, cookie): (u64, u64), call: &Call) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (pid, start_ns, bytes_sent) = (connection.pid, connection.start_ns, connection.sent);
        let (peer, _) = connection.remote();
        let server = Server { name: connection.name.clone(), peer };
        let process = self.who(pid, start_ns, call.started_ns);
        let place = call.credential.as_ref();
        let identity = place.map(|place| self.keyring.identify(place, &call.provider));
        let mut facts = Facts::default();
        if let Some(workload) = &process.workload {
            facts.set_workload(workload);
        }
        facts.set_call(call, identity.as_ref());
        let time = self.clock.wall(call.started_ns);
        let decision = engine.decide(&facts, time);
        if !decision.effect().refuses() {
            return;
        }
        let cut = enforce::cut(&[(cookie, pid)]).cut;
        self.punish(&decision, pid, time);
        if cut == 0 {
            // It is tried again when the call is over.
            return;
        }
        self.status.refused_cut(cut);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.condemn(call.started_ns);
        }
        let (process, server, provider) = (&process, &server, call.provider.as_str());
        let told = Told { time, process, server, provider, layer: "request", cut, bytes_sent };
        self.tell_decision(&decision, &told);
    }

    /// Judges a call that is over.
    pub(super) fn judge(&self, event: &mut CallEvent, cookie: u64, condemned: bool) {
        let engine = self.policies.engine();
        if engine.set().is_empty() {
            return;
        }
        let decision = decide(&engine, event, event.time);
        if decision.is_notable() && !condemned {
            let refuses = decision.effect().refuses();
            let pid = event.process.pid.filter(|_| refuses && self.enforces && cookie != 0);
            let cut = pid.map_or(0, |pid| enforce::cut(&[(cookie, pid)]).cut);
            self.status.refused_cut(cut);
            if let Some(pid) = pid {
                self.punish(&decision, pid, event.time);
            }
            let told = Told {
                time: event.time,
                process: &event.process,
                server: &event.server,
                provider: &event.call.provider,
                layer: "call",
                cut,
                bytes_sent: 0,
            };
            self.tell_decision(&decision, &told);
        }
        event.decision = Some(Box::new(decision));
    }

    /// Kills who made the call, where an enforcing policy says so.
    fn punish(&self, decision: &Decision, pid: u32, at: Timestamp) {
        if decision.effect() == Effect::Kill && kill::kill(self.clock, pid, at) {
            self.status.killed();
        }
    }

    fn tell_decision(&self, decision: &Decision, told: &Told<'_>) {
        let refuses = decision.effect().refuses();
        let ruling = decision.binding.as_ref().filter(|_| refuses).unwrap_or(&decision.ruling);
        self.send(Event::Decision(event::Decision {
            time: told.time,
            process: told.process.clone(),
            server: told.server.clone(),
            provider: Some(told.provider.to_owned()),
            decision: ruling.effect.as_str(),
            ruling: Ruled::of(ruling),
            enforced: told.cut != 0,
            layer: told.layer,
            error: (told.cut != 0).then_some("ECONNABORTED"),
            reason: ruling.reason.as_deref().unwrap_or_default().to_owned(),
            bytes_sent: told.bytes_sent,
        }));
    }
}

impl Connection {
    /// A request on it was refused, and told of.
    fn condemn(&mut self, started_ns: u64) {
        if self.condemned.len() < CONDEMNED_MAX {
            self.condemned.push(started_ns);
        }
    }

    /// Whether the call that began then is over and was refused when it was asked for.
    pub(super) fn take_condemned(&mut self, started_ns: u64) -> bool {
        let at = self.condemned.iter().position(|at| *at == started_ns);
        at.map(|at| self.condemned.swap_remove(at)).is_some()
    }
}
