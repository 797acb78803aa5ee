//! A scope, an end and a reason come in; the pinned maps stop that scope from this moment on, with or without an agent.

use sensor_common::gate::{
    ACTION_DENY, CLASS_EVERY, DESTINATION_ANY, RULE_CLASS, RULE_CREDENTIAL, RULE_DESTINATION,
    RULE_MODEL, RuleKey, Switches, Verdict,
};

use crate::bpf::GateMaps;
use crate::bpf::Owner;
use crate::enforce::Error;

use super::{orders, words};

/// What a panic stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every call to an AI provider.
    Everything,
    /// Calls to one provider.
    Provider(String),
    /// Calls with one key, by its fingerprint, of subjects whose content is judged.
    Key(String),
    /// Calls for one model, of subjects whose content is judged.
    Model(String),
    /// Calls of one class of subjects.
    Workload(String),
}

/// A panic that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it is found under.
    pub key: RuleKey,
    /// Monotonic nanoseconds at which it ends by itself.
    pub until_ns: u64,
    /// Why it was put on.
    pub reason: String,
}

impl Scope {
    /// Where the gate looks for it.
    pub fn key(&self) -> Result<RuleKey, String> {
        let key = |class, kind, value| Ok(RuleKey { class, kind, value });
        let about = |destination: u32| [u64::from(destination), 0];
        match self {
            Self::Everything => key(CLASS_EVERY, RULE_DESTINATION, about(DESTINATION_ANY)),
            Self::Provider(name) => {
                key(CLASS_EVERY, RULE_DESTINATION, about(words::destination(name)))
            }
            Self::Key(text) => key(CLASS_EVERY, RULE_CREDENTIAL, orders::fingerprint(text)?),
            Self::Model(name) => key(CLASS_EVERY, RULE_MODEL, [words::hash(name.as_bytes()), 0]),
            Self::Workload(name) => key(words::class(name), RULE_CLASS, [0, 0]),
        }
    }
}

impl Panic {
    /// Puts a panic on: the verdict first, then the switch.
    pub fn on(maps: &mut GateMaps, key: RuleKey, until_ns: u64, reason: &str) -> Result<(), Error> {
        let number = words::reason(reason);
        maps.set_words(number, reason)?;
        let verdict = Verdict {
            action: ACTION_DENY,
            reason: number,
            expires_ns: until_ns,
            ..Verdict::default()
        };
        maps.set_rule(key, Some(verdict))?;
        let before = maps.switches(Owner::Panic)?.panic_until_ns;
        let switches = Switches { panic_until_ns: before.max(until_ns), ..Switches::default() };
        Ok(maps.set_switches(Owner::Panic, switches)?)
    }

    /// Lifts one panic, or all; says how many.
    pub fn off(maps: &mut GateMaps, which: Option<RuleKey>, now_ns: u64) -> Result<usize, Error> {
        let mut lifted = 0_usize;
        let mut last = 0;
        for panic in Self::all(maps) {
            if which.is_none_or(|key| key == panic.key) {
                maps.set_rule(panic.key, None)?;
                lifted = lifted.saturating_add(usize::from(panic.until_ns > now_ns));
            } else {
                last = last.max(panic.until_ns);
            }
        }
        let switches = Switches { panic_until_ns: last, ..Switches::default() };
        maps.set_switches(Owner::Panic, switches)?;
        Ok(lifted)
    }

    /// Every panic that was put on and not lifted, ended ones included.
    pub fn all(maps: &GateMaps) -> Vec<Self> {
        let is_panic = |key: &RuleKey| key.class == CLASS_EVERY || key.kind == RULE_CLASS;
        maps.rules()
            .into_iter()
            .filter(|(key, _)| is_panic(key))
            .map(|(key, verdict)| Self {
                key,
                until_ns: verdict.expires_ns,
                reason: maps.words(verdict.reason).unwrap_or_default(),
            })
            .collect()
    }

    /// Whether a panic stops a socket of this class to this destination, as far as the socket itself tells.
    pub fn stops(key: &RuleKey, class: u32, destination: u32) -> bool {
        match key.kind {
            RULE_DESTINATION => {
                let wanted = key.value.first().copied().unwrap_or(0);
                wanted == u64::from(DESTINATION_ANY) || wanted == u64::from(destination)
            }
            RULE_CLASS => key.class == class,
            // Which key or model an open connection uses is not written at its socket.
            _ => false,
        }
    }
}
