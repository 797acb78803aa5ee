//! A request that has been made, or a call that is over, comes in; what the policies say about it is done and told.

use std::sync::Arc;

use jiff::Timestamp;

use crate::credential::Identity;
use crate::enforce;
use crate::enforce::Panic;
use crate::policy::{Decision, Effect, Engine, Fact, Facts, Transport};
use crate::provider::Call;
use crate::report::event::{self, Process, Ruled, Server};
use crate::report::{CallEvent, Event};

use super::clock::Clock;
use super::connection::Connection;
use super::kill;
use super::pipeline::Pipeline;

/// Requests of one connection that were refused and whose calls are not over.
const CONDEMNED_MAX: usize = 256;

/// What the policies say about a call of which everything is known that will be.
fn decide(engine: &Engine, event: &CallEvent, now: Timestamp) -> Decision {
    let asked = (&event.call, event.identity.as_ref());
    engine.decide(&facts(&event.process, asked, event.name_hidden), now)
}

/// What is known of a request that was seen, of who made it, and of whether its ClientHello hides the name.
fn facts<'a>(
    process: &'a Process,
    (call, identity): (&'a Call, Option<&'a Identity>),
    name_hidden: Option<bool>,
) -> Facts<'a> {
    let mut facts = Facts::default();
    if let Some(workload) = &process.workload {
        facts.set_workload(workload);
    }
    facts.set_call(call, identity);
    facts.set_transport(Transport::Ech, name_hidden.map_or(Fact::Unknown, Fact::Known));
    facts
}

/// Where and by whom a call or connection was made.
pub(super) struct Told<'a> {
    pub(super) time: Timestamp,
    pub(super) process: &'a Process,
    pub(super) server: &'a Server,
    pub(super) provider: Option<&'a str>,
    pub(super) layer: &'static str,
    pub(super) cut: usize,
    pub(super) bytes_sent: u64,
}

impl Told<'_> {
    fn decision(
        &self,
        decision: &'static str,
        ruling: Option<Ruled>,
        reason: String,
    ) -> event::Decision {
        event::Decision {
            time: self.time,
            process: self.process.clone(),
            server: self.server.clone(),
            provider: self.provider.map(str::to_owned),
            decision,
            ruling,
            enforced: self.cut != 0,
            layer: self.layer,
            error: (self.cut != 0).then_some("ECONNABORTED"),
            reason,
            bytes_sent: self.bytes_sent,
        }
    }
}

impl Pipeline {
    /// Judges the requests that have been made since the last time. One that an enforcing policy refuses has left, as the
    /// kernel could not know enough; its connection is cut before the answer comes.
    pub(super) fn judge_requests(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let cookie = connection.socket.map_or(0, |socket| socket.cookie);
        let asked = connection.take_asked(self.enforces && cookie != 0);
        if asked.is_empty() {
            return;
        }
        let engine = self.policies.engine();
        if engine.set().is_empty() && self.alarms.is_none() {
            return;
        }
        for call in asked {
            self.judge_request(&engine, (id, cookie), &call);
        }
    }

    fn judge_request(&mut self, engine: &Arc<Engine>, (id, cookie): (u64, u64), call: &Call) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (pid, start_ns, bytes_sent) = (connection.pid, connection.start_ns, connection.sent);
        let (peer, _) = connection.remote();
        let name_hidden = connection.named().hides_name();
        let server = Server { name: connection.name.clone(), peer };
        let process = self.who(pid, start_ns, call.started_ns);
        let place = call.credential.as_ref();
        let identity = place.map(|place| self.keyring.identify(place, &call.provider));
        let time = self.clock.wall(call.started_ns);
        let panic = self.panic_about(call, identity.as_ref());
        let facts = facts(&process, (call, identity.as_ref()), name_hidden);
        let decision = engine.decide(&facts, time);
        if panic.is_none() && !decision.effect().refuses() {
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
        let (process, server, provider) = (&process, &server, Some(call.provider.as_str()));
        let told = Told { time, process, server, provider, layer: "request", cut, bytes_sent };
        match panic {
            Some(panic) => self.tell_panic(panic, &told),
            None => self.tell_decision(&decision, &told),
        }
    }

    /// Judges a call that is over; one that was refused when it was asked for is told of already.
    pub(super) fn judge(&self, event: &mut CallEvent, cookie: u64, condemned: bool) {
        let engine = self.policies.engine();
        let panic = self.panic_about(&event.call, event.identity.as_ref());
        if engine.set().is_empty() && panic.is_none() {
            return;
        }
        let decision = decide(&engine, event, event.time);
        if (panic.is_some() || decision.is_notable()) && !condemned {
            let refuses = panic.is_some() || decision.effect().refuses();
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
                provider: Some(&event.call.provider),
                layer: "call",
                cut,
                bytes_sent: 0,
            };
            match panic {
                Some(panic) => self.tell_panic(panic, &told),
                None => self.tell_decision(&decision, &told),
            }
        }
        if !engine.set().is_empty() {
            event.decision = Some(Box::new(decision));
        }
    }

    /// The panic about its key or model that is to stop a call which the gate could not judge, as over HTTP/2.
    fn panic_about(&self, call: &Call, identity: Option<&Identity>) -> Option<Panic> {
        let key = identity.map(|identity| identity.fingerprint.as_str());
        let about = (key, call.request_model.as_deref());
        Panic::about(self.alarms.as_ref()?, about, Clock::monotonic_ns())
    }

    /// Kills who made the call, where an enforcing policy says so.
    pub(super) fn punish(&self, decision: &Decision, pid: u32, at: Timestamp) {
        if decision.effect() == Effect::Kill && kill::kill(self.clock, pid, at) {
            self.status.killed();
        }
    }

    fn tell_panic(&self, panic: Panic, told: &Told<'_>) {
        let decision = told.decision("deny", None, panic.reason);
        self.send(Event::Decision(decision));
    }

    /// Tells what the policies decided.
    pub(super) fn tell_decision(&self, decision: &Decision, told: &Told<'_>) {
        let refuses = decision.effect().refuses();
        let ruling =
            decision.binding.as_ref().filter(|_| refuses).unwrap_or_else(|| decision.told());
        let reason = ruling.reason.as_deref().unwrap_or_default().to_owned();
        let decision = told.decision(ruling.effect.as_str(), Ruled::of(ruling), reason);
        self.send(Event::Decision(decision));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Set, Source};
    use crate::report::sinks::sample;

    #[test]
    fn key_that_may_stand_where_nothing_was_read_is_not_taken_for_absent() {
        let text = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: enforce\n  default: allow\n  rules: [{name: no, action: deny, match: {credential: {not: [0123456789abcdef0123456789abcdef]}}}]\n";
        let source = Source { file: "test.yaml".to_owned(), text: text.to_owned() };
        let engine = Engine::new(Set::read(&[source]).unwrap().0);
        let mut event = CallEvent { identity: None, ..sample::call() };
        for (head_complete, effect) in [(true, Effect::Deny), (false, Effect::Allow)] {
            event.call.head_complete = head_complete;
            assert_eq!(decide(&engine, &event, event.time).effect(), effect, "{head_complete}");
        }
    }

    #[test]
    fn call_whose_hello_hides_its_name_is_refused_and_no_other() {
        const CASES: [(&str, Option<bool>, Effect); 6] = [
            ("deny", Some(true), Effect::Deny),
            ("deny", Some(false), Effect::Allow),
            ("deny", None, Effect::Deny),
            ("allow", Some(true), Effect::Deny),
            ("allow", Some(false), Effect::Allow),
            ("allow", None, Effect::Allow),
        ];
        for (unknown, name_hidden, effect) in CASES {
            let text = format!(
                "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  default: allow\n  unknown: {unknown}\n  rules: [{{name: no, action: deny, match: {{transport: ech}}}}]\n"
            );
            let source = Source { file: "test.yaml".to_owned(), text };
            let engine = Engine::new(Set::read(&[source]).unwrap().0);
            let event = CallEvent { name_hidden, ..sample::call() };
            let decision = decide(&engine, &event, event.time);
            assert_eq!(decision.effect(), effect, "{unknown} {name_hidden:?}");
        }
    }
}
