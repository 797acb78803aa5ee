//! A connection to AI on which no call was decoded comes in; what the policies say about it is told, whatever their mode.
//!
//! Its calls are judged one by one where they are seen. Where they are not, what is known of the connection is all there is:
//! who, where to, and how it travelled.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::policy::{Attribute, Decision, Engine, Fact, Facts, Ruling, Transport};
use crate::provider::Catalogue;
use crate::report::event::{Process, Seen, Server};

use super::connection::Connection;
use super::judge::Told;
use super::notice::Greeting;
use super::pipeline::Pipeline;

/// Sockets remembered of which something was refused, in two halves of which the older gives way.
const REFUSED_MAX: usize = 4096;

/// Open sockets of which the kernel has refused something: each of them is told of already.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Halves>);

/// Cookies by when they were noted.
#[derive(Debug, Default)]
struct Halves {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Refused {
    /// Notes a socket by its cookie; 0 stands for none.
    pub(super) fn note(&self, cookie: u64) {
        let mut halves = self.halves();
        if cookie == 0 || halves.young.contains(&cookie) {
            return;
        }
        if halves.young.len() >= REFUSED_MAX / 2 {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(cookie);
    }

    /// Whether that was noted; asked once, at the end of the socket.
    fn take(&self, cookie: u64) -> bool {
        let mut halves = self.halves();
        let was_old = halves.old.remove(&cookie);
        halves.young.remove(&cookie) || was_old
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on which no call was decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncalled<'a> {
    /// When it ended, or was found to be one that cannot be read.
    pub(super) time: Timestamp,
    pub(super) process: &'a Process,
    pub(super) server: &'a Server,
    /// How much of its plaintext was seen.
    pub(super) seen: Seen,
    pub(super) is_quic: bool,
    /// Whether its ClientHello hid the name.
    pub(super) ech: Fact<bool>,
    /// Cookie of its socket; 0 where that is not known.
    pub(super) cookie: u64,
    /// Bytes that had left on it.
    pub(super) sent: u64,
}

impl Uncalled<'_> {
    /// What the engine says with what is known; nothing where all of it would rest on a request that was never made.
    fn decide(&self, engine: &Engine, catalogue: &Catalogue) -> Option<Decision> {
        let mut facts = Facts::default();
        if let Some(workload) = &self.process.workload {
            facts.set_workload(workload);
        }
        if let Some(host) = self.server.name.as_deref() {
            facts.set(Attribute::Host, Fact::Known(host));
            // A host that carries other traffic too proves nothing by its name: there, only a request leads to AI.
            let row = catalogue.find(host).filter(|row| row.paths.is_empty());
            if let Some(row) = row {
                facts.set(Attribute::Provider, Fact::Known(&row.name));
                facts.set(Attribute::Category, Fact::Known(row.category.as_str()));
                facts.set_transport(Transport::Unlisted, Fact::Known(false));
            }
        }
        let opaque = match self.seen {
            Seen::Complete => Fact::Known(false),
            // What was missed may have been a request.
            Seen::Truncated => Fact::Unknown,
            Seen::Blind => Fact::Known(true),
        };
        facts.set_transport(Transport::Opaque, opaque);
        facts.set_transport(Transport::Quic, Fact::Known(self.is_quic));
        facts.set_transport(Transport::Ech, self.ech);
        let decision = engine.decide(&facts, self.time);
        if self.seen != Seen::Complete || !decision.is_presumed() {
            return Some(decision);
        }
        // No request was made that could be what is presumed of it; what holds of every request holds of none too.
        Some(engine.certain(&facts, self.time)).filter(Decision::is_notable)
    }

    /// Who is to be punished for it where a policy says so. What the gate refuses the gate kills; a connection that was
    /// open before may have done nothing since it was forbidden, and its end is no crime. QUIC is judged as it begins.
    fn culprit(&self) -> Option<u32> {
        self.process.pid.filter(|_| self.is_quic)
    }
}

impl Greeting {
    /// Whether it hides the name: an encrypted hello is there for show beside an AI provider's name, and beside that by which
    /// the process found the address, as a hidden one is what DNS is asked for.
    pub(super) fn ech(&self) -> Fact<bool> {
        let is_shown = self.ai || (self.name.is_some() && self.dns == self.name);
        self.read
            .as_ref()
            .map_or(Fact::Unknown, |read| Fact::Known(read.has_encrypted_hello && !is_shown))
    }

    /// Whether a connection to an address of a provider is one to it, as far as its name says; others share such addresses.
    pub(super) fn may_lead_to_ai(&self) -> bool {
        self.ai || self.name.is_none() || self.ech() == Fact::Known(true)
    }
}

impl Connection {
    /// Whether it came about, and no call on it is told of, nor will be.
    pub(super) fn is_uncalled(&self) -> bool {
        let socket = self.socket.or(self.closed);
        let is_answered = socket.is_some_and(|socket| socket.bytes_received != 0);
        let came_about = is_answered || self.stages().is_some();
        came_about && self.reported_calls == 0 && self.condemned.is_empty()
    }
}

impl Pipeline {
    /// Judges a connection, tells of it where that has to be, and gives what was decided for its own event; nothing where no
    /// policy judges, or the kernel has refused it and told of that.
    pub(super) fn judge_uncalled(&self, one: &Uncalled<'_>) -> Option<Box<Ruling>> {
        let engine = self.policies.engine();
        // A socket that is not known may be one that was refused.
        let is_hidden = one.cookie == 0 && self.enforces;
        if engine.set().is_empty() || is_hidden || self.refused.take(one.cookie) {
            return None;
        }
        let decision = one.decide(&engine, &self.shared.catalogues.now())?;
        if decision.is_notable() {
            let provider = self.provider_of(one.server).map(|provider| provider.name);
            if let Some(pid) = one.culprit().filter(|_| self.enforces) {
                self.punish(&decision, pid, one.time);
            }
            self.tell_decision(
                &decision,
                &Told {
                    time: one.time,
                    process: one.process,
                    server: one.server,
                    provider: provider.as_deref(),
                    layer: "connection",
                    cut: 0,
                    bytes_sent: one.sent,
                },
            );
        }
        Some(Box::new(said(&decision)))
    }
}

/// What the event of a connection says of a decision: as that is told, what is done before what only watches.
fn said(decision: &Decision) -> Ruling {
    decision.told().clone()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sensor_common::record::{Header, Socket};
    use zerocopy::FromZeros;

    use super::*;
    use crate::agent::notice::Read;
    use crate::policy::{Effect, Mode, Set, Source};

    const QUIC_OFF: &str = include_str!("../../../policies/quic-off.yaml");
    const EVERYTHING: &str = include_str!("../../../policies/observe-everything.yaml");

    fn engine(text: &str) -> Engine {
        let source = Source { file: "test.yaml".to_owned(), text: text.to_owned() };
        Engine::new(Set::read(&[source]).unwrap().0)
    }

    fn rule(mode: &str, wanted: &str) -> String {
        format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: {mode}\n  default: allow\n  rules:\n    - {{name: r, action: deny, match: {{{wanted}}}}}\n"
        )
    }

    /// What is decided about a connection to a host: how much of it was seen, whether it is of QUIC and whether its name hides.
    fn decide(
        text: &str,
        host: &str,
        (seen, is_quic, ech): (Seen, bool, bool),
    ) -> Option<Decision> {
        let server = Server { name: Some(host.to_owned()), peer: None };
        let one = Uncalled {
            time: Timestamp::UNIX_EPOCH,
            process: &Process::default(),
            server: &server,
            seen,
            is_quic,
            ech: Fact::Known(ech),
            cookie: 7,
            sent: 1,
        };
        one.decide(&engine(text), &Catalogue::bundled().unwrap())
    }

    #[test]
    fn policies_that_watch_judge_connections_of_which_no_call_is_seen() {
        let openai = "api.openai.com";
        let blind = (Seen::Blind, false, false);
        let cases = [
            (QUIC_OFF, (Seen::Blind, true, false), Effect::Deny, Some("quic")),
            (QUIC_OFF, (Seen::Blind, false, true), Effect::Alert, Some("hidden-name")),
            (QUIC_OFF, blind, Effect::Allow, None),
            (EVERYTHING, blind, Effect::Alert, Some("unseen")),
            (EVERYTHING, (Seen::Complete, false, false), Effect::Allow, None),
        ];
        for (text, how, effect, by) in cases {
            let ruling = decide(text, openai, how).unwrap().ruling;
            assert_eq!((ruling.effect, ruling.rule.as_deref()), (effect, by), "{how:?}");
            assert_ne!(ruling.mode, Mode::Enforce);
        }
    }

    #[test]
    fn provider_is_denied_by_name_in_every_mode_where_its_plaintext_is_not_seen() {
        for mode in ["observe", "warn", "enforce"] {
            let text = rule(mode, "provider: groq");
            for seen in [Seen::Blind, Seen::Truncated, Seen::Complete] {
                let decision = decide(&text, "api.groq.com", (seen, false, false)).unwrap();
                assert_eq!(decision.ruling.effect, Effect::Deny, "{mode} {seen:?}");
                assert_eq!(decision.effect().refuses(), mode == "enforce");
                let other = decide(&text, "api.openai.com", (seen, false, false)).unwrap();
                assert!(!other.is_notable(), "{mode} {seen:?}");
            }
        }
        // There, the name alone proves nothing.
        let mixed = rule("observe", "provider: huggingchat");
        let decided = decide(&mixed, "huggingface.co", (Seen::Blind, false, false)).unwrap();
        assert!(!decided.is_notable(), "{decided:?}");
    }

    #[test]
    fn event_of_a_connection_names_the_policy_that_acts_not_one_that_only_watches() {
        let named = |name: &str, mode: &str| {
            let text = rule(mode, "provider: groq");
            let text = text.replace("{name: p}", &format!("{{name: {name}}}"));
            Source { file: format!("{name}.yaml"), text }
        };
        let set = Set::read(&[named("a", "observe"), named("b", "enforce")]).unwrap().0;
        let mut facts = Facts::default();
        facts.set(Attribute::Provider, Fact::Known("groq"));
        let decision = Engine::new(set).decide(&facts, Timestamp::UNIX_EPOCH);
        assert_eq!(decision.ruling.policy.as_deref(), Some("a"), "the first by name");
        let said = said(&decision);
        assert_eq!((said.policy.as_deref(), said.mode), (Some("b"), Mode::Enforce));
    }

    #[test]
    fn end_of_a_connection_kills_nobody() {
        let process = Process { pid: Some(7), ..Process::default() };
        for (is_quic, culprit) in [(true, Some(7)), (false, None)] {
            let one = Uncalled {
                time: Timestamp::UNIX_EPOCH,
                process: &process,
                server: &Server::default(),
                seen: Seen::Blind,
                is_quic,
                ech: Fact::Unknown,
                cookie: 7,
                sent: 1,
            };
            assert_eq!(one.culprit(), culprit);
        }
    }

    #[test]
    fn request_that_was_never_made_is_not_judged() {
        let text = rule("observe", "model: big").replace("default:", "unknown: deny\n  default:");
        let host = "api.groq.com";
        assert_eq!(decide(&text, host, (Seen::Complete, false, false)), None);
        let watch = rule("observe", "provider: groq").replace("{name: p}", "{name: q}");
        let kept = decide(&format!("{text}---\n{watch}"), host, (Seen::Complete, false, false));
        let ruling = kept.unwrap().ruling;
        assert_eq!((ruling.policy.as_deref(), ruling.presumed), (Some("q"), false));
        let enforced = text.replace("mode: observe", "mode: enforce");
        let kept = decide(&format!("{enforced}---\n{watch}"), host, (Seen::Complete, false, false));
        assert!(!kept.unwrap().effect().refuses(), "what binds rests on no request either");
        let missed = decide(&text, host, (Seen::Truncated, false, false)).unwrap();
        assert_eq!(missed.ruling.effect, Effect::Deny, "what was missed may have asked for it");
    }

    #[test]
    fn what_the_kernel_refused_is_told_once() {
        let refused = Refused::default();
        refused.note(7);
        refused.note(0);
        assert!(refused.take(7) && !refused.take(7) && !refused.take(0));
        // What was noted last outlives what comes after it.
        (1..=4096).for_each(|cookie| refused.note(cookie));
        refused.note(4097);
        assert!(refused.take(4096) && refused.take(4097) && !refused.take(1));
    }

    #[test]
    fn connection_that_came_about_without_a_call_is_judged_by_itself() {
        let mut connection = Connection::new(&Header::new_zeroed());
        assert!(!connection.is_uncalled(), "nothing came back");
        connection.socket = Some(Socket { bytes_received: 1, ..Socket::default() });
        assert!(connection.is_uncalled());
        connection.condemned.push(1);
        assert!(!connection.is_uncalled(), "its request was refused");
        connection.condemned.clear();
        connection.reported_calls = 1;
        assert!(!connection.is_uncalled());
    }

    #[test]
    fn encrypted_hello_hides_a_name_unless_a_provider_is_named_beside_it() {
        let greeting = |ai, has_encrypted_hello| Greeting {
            ai,
            read: Some(Arc::new(Read { ja4: String::new(), has_encrypted_hello })),
            ..Greeting::default()
        };
        assert_eq!(Greeting::default().ech(), Fact::Unknown);
        for (ai, has, hides) in [(false, true, true), (true, true, false), (false, false, false)] {
            assert_eq!(greeting(ai, has).ech(), Fact::Known(hides));
            let named = Greeting { name: Some("front.example".to_owned()), ..greeting(ai, has) };
            assert_eq!(named.may_lead_to_ai(), ai || hides);
            // Browsers send one with every hello: DNS has told the very name, or another.
            for (dns, is_other) in [("front.example", false), ("api.openai.com", true)] {
                let found = Greeting { dns: Some(dns.to_owned()), ..named.clone() };
                assert_eq!(found.ech(), Fact::Known(hides && is_other), "{found:?}");
            }
        }
    }
}
