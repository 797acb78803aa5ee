//! What policies say about a call comes in, policy by policy; one decision with its grounds goes out.

use std::sync::Arc;

use crate::policy::Attribute;
use crate::policy::Attributes;
use crate::policy::document::Mode;

/// What is to happen to a call; the later is the stronger, and the stronger overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    #[default]
    Allow,
    /// It passes, and an event says so.
    Alert,
    /// It is refused.
    Deny,
    /// It is refused, and its process is killed.
    Kill,
}

impl Effect {
    /// The word that events, metrics and documents carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Alert => "alert",
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }

    /// Whether the call must not pass.
    pub fn refuses(self) -> bool {
        self >= Self::Deny
    }
}

/// What happens to connections that are open when a policy comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Existing {
    /// They stay until they end by themselves.
    #[default]
    Keep,
    /// They are cut.
    Close,
}

/// What one rule, or the default of one policy, says; all texts are shared with the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What is to happen.
    pub effect: Effect,
    /// Mode the policy holds in for this subject.
    pub mode: Mode,
    /// Name of the policy; `None` where no policy applies.
    pub policy: Option<Arc<str>>,
    /// Name of the rule; `None` where the default of the policy decided.
    pub rule: Option<Arc<str>>,
    /// What the policy's author has to say to those it concerns.
    pub reason: Option<Arc<str>>,
    /// What becomes of connections that are open already; of what binds, the strictest that a refusing policy says.
    pub existing: Existing,
    /// Whether an unknown attribute had to be read as the policy's `unknown:` or `opaque:` says.
    pub presumed: bool,
    /// The attributes that the rule and its policy ask about, with their values here.
    pub facts: Vec<(Attribute, String)>,
}

impl Ruling {
    /// What holds where no policy applies.
    pub(super) fn none() -> Self {
        Self {
            effect: Effect::Allow,
            mode: Mode::Observe,
            policy: None,
            rule: None,
            reason: None,
            existing: Existing::Keep,
            presumed: false,
            facts: Vec::new(),
        }
    }
}

/// What the policies together say about one call: the same in every mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The strongest ruling of all policies, whatever their mode.
    pub ruling: Ruling,
    /// The strongest ruling of the policies in mode `enforce`: what an enforcing layer has to do. `None` where no such
    /// policy applies.
    pub binding: Option<Ruling>,
}

impl Decision {
    /// What an enforcing layer has to do.
    pub fn effect(&self) -> Effect {
        self.binding.as_ref().map_or(Effect::Allow, |ruling| ruling.effect)
    }

    /// The ruling that is told: of two that are equally strong the one that is done, not one that only watches.
    pub fn told(&self) -> &Ruling {
        let equal = |ruling: &&Ruling| ruling.effect == self.ruling.effect;
        self.binding.as_ref().filter(equal).unwrap_or(&self.ruling)
    }

    /// What would have been done, had every policy been in mode `enforce`, where that is stronger than what is done.
    pub fn would(&self) -> Option<&Ruling> {
        (self.ruling.effect > self.effect()).then_some(&self.ruling)
    }

    /// Whether any part of it rests on how a policy reads what is unknown.
    pub fn is_presumed(&self) -> bool {
        self.ruling.presumed || self.binding.as_ref().is_some_and(|ruling| ruling.presumed)
    }

    /// Whether an event has to tell of it, even if nothing is refused.
    pub fn is_notable(&self) -> bool {
        self.ruling.effect > Effect::Allow
    }
}

/// What can be said before everything is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing that is still unknown can change the effects of the decision.
    Settled(Decision),
    /// It depends.
    Open {
        /// On these.
        on: Attributes,
    },
}
