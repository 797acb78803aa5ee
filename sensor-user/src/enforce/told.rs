//! Policies and what is known of a subject come in; what the gate has to refuse it before any of its calls goes out.
//!
//! Only what is certain is written: a verdict that still depends on more of the call is the agent's to give.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use sensor_common::gate::{
    ACTION_ALLOW, ACTION_DENY, ACTION_GROUP, ACTION_KILL, RULE_DESTINATION, RULE_FORMS,
    RULE_MODEL_FORM, RuleKey, SCOPE_ENFORCED, SCOPE_REFUSE_QUIC, Verdict,
};

use crate::policy::Attribute;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Existing;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Forms;
use crate::policy::Ruling;
use crate::policy::Transport;
use crate::provider::Catalogue;
use crate::provider::catalogue::Provider;

use super::content;
use super::content::{Content, Values};
use super::leads::{Leads, Place};
use super::words;

/// What a class of subjects is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Number of the class: equal for all that are told the same.
    pub class: u32,
    /// Scope of the class.
    pub scope: u32,
    /// Verdicts by the kind and value of their rule.
    pub rules: BTreeMap<(u32, [u64; 2]), Order>,
    /// The automaton by which its models are told apart, where there is a verdict about a form.
    pub forms: Option<Arc<Forms>>,
    /// Verdicts that are more than a class is told: the agent gives them when a request has been made.
    pub left: usize,
}

/// One verdict, with the words of its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// One of the `ACTION_` constants.
    pub action: u32,
    /// Why.
    pub reason: String,
    /// Whether connections that are open already are cut.
    pub cuts: bool,
    /// Group of the key that it is about; 0 where it is about something else.
    pub group: u32,
}

/// Tells subjects what the policies settle about them; what does not depend on the subject is found once.
pub struct Teller<'a> {
    engine: &'a Engine,
    catalogue: &'a Catalogue,
    now: Timestamp,
    /// Most subjects are nobody's, and need none of what follows.
    leads: OnceCell<Leads<'a>>,
    /// For each destination the first that is treated the same.
    alike: OnceCell<Vec<usize>>,
    values: OnceCell<Values<'a>>,
}

/// What is said about calls of one subject to one destination.
#[derive(Clone)]
enum About {
    /// Whatever is asked for, this.
    Settled(Option<Order>),
    /// It depends on what is asked for.
    Open(Rc<Content>),
}

impl<'a> Teller<'a> {
    /// What policies say at a time about the providers of a catalogue.
    pub fn new(engine: &'a Engine, catalogue: &'a Catalogue, now: Timestamp) -> Self {
        let (leads, alike, values) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { engine, catalogue, now, leads, alike, values }
    }

    /// Where names lead, as the policies tell hosts apart.
    pub fn leads(&self) -> &Leads<'a> {
        self.leads.get_or_init(|| Leads::new(self.catalogue, self.engine.set()))
    }

    /// What the policies settle about a subject. Policies that only watch are left out: they settle nothing.
    pub fn told(&self, subject: &Facts<'_>) -> Told {
        let mut told = Told { scope: SCOPE_ENFORCED, ..Told::default() };
        let bound = |facts: &Facts<'_>| self.engine.bound(facts, self.now);
        // Most processes are no policy's subjects: whatever they call, nothing is refused.
        if bound(subject).is_some_and(|decision| binding(&decision).is_none()) {
            told.class = told.number();
            return told;
        }
        let (mut open, mut every) = (Vec::new(), true);
        for (place, about) in self.places(subject) {
            match about {
                About::Open(content) => {
                    let rows = self.values().tails(&facts_of(subject, place), place.provider);
                    content::add(&mut told, place.number, &rows);
                    let kinds = self.values().kinds(&facts_of(subject, place), place.provider);
                    content::add(&mut told, place.number, &kinds);
                    open.push((place.number, content));
                }
                About::Settled(order) => {
                    every = false;
                    let row = (RULE_DESTINATION, [u64::from(place.number), 0]);
                    told.rules.extend(order.map(|order| (row, order)));
                }
            }
        }
        content::tell(&mut told, &open, every);
        let left = self.values.get().map_or(0, |values| values.left.take());
        told.left = told.left.saturating_add(left);
        if told.rules.keys().any(|(kind, _)| *kind == RULE_MODEL_FORM) {
            told.forms = self.engine.set().forms().cloned();
        }
        let mut quic = subject.clone();
        quic.set_transport(Transport::Quic, Fact::Known(true));
        if bound(&quic).is_some_and(|decision| binding(&decision).is_some()) {
            told.scope |= SCOPE_REFUSE_QUIC;
        }
        told.scope |= told.rules.keys().fold(0, |scope, (kind, _)| scope | content::scope(*kind));
        told.class = told.number();
        told
    }

    /// What is said about calls of a subject to each destination.
    fn places(&self, subject: &Facts<'_>) -> Vec<(&Place<'a>, About)> {
        let places = &self.leads().places;
        let alike = self.alike.get_or_init(|| {
            let known = |place: &'a Provider, named| [&*place.name, place.category.as_str(), named];
            let known: Vec<_> =
                places.iter().map(|place| known(place.provider, &*place.named)).collect();
            self.engine.set().alike(&known)
        });
        let mut all: Vec<(&Place<'a>, About)> = Vec::new();
        for (place, first) in places.iter().zip(alike) {
            let same = all.get(*first).map(|(_, about)| about.clone());
            all.push((place, same.unwrap_or_else(|| self.about(subject, place))));
        }
        all
    }

    fn about(&self, subject: &Facts<'_>, place: &Place<'_>) -> About {
        let facts = facts_of(subject, place);
        match self.engine.bound(&facts, self.now) {
            Some(decision) => About::Settled(refusal(&decision)),
            None => About::Open(Rc::new(self.values().content(&facts))),
        }
    }

    fn values(&self) -> &Values<'a> {
        self.values.get_or_init(|| Values::new(self.engine, self.now))
    }
}

/// What is known of calls of a subject to a destination before any is made.
fn facts_of<'a>(subject: &Facts<'a>, place: &'a Place<'a>) -> Facts<'a> {
    let (mut facts, provider) = (subject.clone(), place.provider);
    if let Some(host) = &place.host {
        facts.set(Attribute::Host, Fact::Known(host));
    }
    facts.set(Attribute::Provider, Fact::Known(&provider.name));
    facts.set(Attribute::Category, Fact::Known(provider.category.as_str()));
    facts.set_transport(Transport::Unlisted, Fact::Known(false));
    facts
}

/// The order that a decision comes to, where it refuses.
pub(super) fn refusal(decision: &Decision) -> Option<Order> {
    binding(decision).map(|(ruling, action)| Order {
        action,
        reason: reason(ruling),
        cuts: ruling.existing == Existing::Close,
        group: 0,
    })
}

/// What an enforcing layer has to refuse.
fn binding(decision: &Decision) -> Option<(&Ruling, u32)> {
    let ruling = decision.binding.as_ref()?;
    match ruling.effect {
        Effect::Kill => Some((ruling, ACTION_KILL)),
        Effect::Deny => Some((ruling, ACTION_DENY)),
        Effect::Allow | Effect::Alert => None,
    }
}

/// The words of a refusal: the policy, its rule, and what its author has to say.
fn reason(ruling: &Ruling) -> String {
    let policy = ruling.policy.as_deref().unwrap_or_default();
    let rule = ruling.rule.as_deref().map(|rule| format!("/{rule}")).unwrap_or_default();
    let why = ruling.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{policy}{rule}{why}")
}

impl Told {
    /// Whether anything is refused.
    pub fn refuses(&self) -> bool {
        !self.rules.is_empty() || self.scope & SCOPE_REFUSE_QUIC != 0
    }

    /// Says in the log how many verdicts are left to the agent.
    pub fn tell_what_is_left(&self) {
        if self.left != 0 {
            let left = self.left;
            tracing::warn!(
                left,
                "verdicts are more than the kernel is told; such requests are cut when they are made"
            );
        }
    }

    /// A number that follows from what is told.
    fn number(&self) -> u32 {
        let rules = self.rules.iter().map(|((kind, value), order)| {
            let Order { action, cuts, reason, group } = order;
            format!("{kind} {value:?} {action} {cuts} {group} {reason}\n")
        });
        words::class(&format!("policies {}\n{}", self.scope, rules.collect::<String>()))
    }

    /// Its verdicts, as the gate keeps them for a class.
    pub fn verdicts(&self, class: u32) -> impl Iterator<Item = (RuleKey, Verdict, &str)> {
        let forms = self.forms.iter().map(move |forms| {
            let key = RuleKey { class, kind: RULE_FORMS, value: [0, 0] };
            (key, Verdict { action: ACTION_ALLOW, reason: forms.number, ..Verdict::default() }, "")
        });
        let rules = self.rules.iter().map(move |((kind, value), order)| {
            let key = RuleKey { class, kind: *kind, value: *value };
            let is_group = order.action == ACTION_GROUP;
            let reason = if is_group { order.group } else { words::reason(&order.reason) };
            let verdict = Verdict { action: order.action, reason, ..Verdict::default() };
            (key, verdict, order.reason.as_str())
        });
        // What an automaton says comes into force when all that is said of its forms is there.
        rules.chain(forms)
    }

    /// Whether an open connection to a destination is refused, and whether it is cut then.
    pub fn about(&self, destination: u32) -> Option<&Order> {
        self.rules.get(&(RULE_DESTINATION, [u64::from(destination), 0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Set, Source};

    fn engine(text: &str) -> Engine {
        let source = Source { file: "test.yaml".to_owned(), text: text.to_owned() };
        Engine::new(Set::read(&[source]).unwrap().0)
    }

    fn policy(mode: &str, rules: &str) -> String {
        format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: {mode}\n  default: allow\n  reason: ask us\n  rules:\n{rules}"
        )
    }

    #[test]
    fn only_what_is_settled_by_enforcing_policies_is_told() {
        const NO_GROQ: &str = "    - {name: no-groq, action: deny, match: {provider: groq}}\n";
        const NO_MODEL: &str =
            "    - {name: no-model, action: deny, match: {provider: groq, model: big}}\n";
        const NO_QUIC: &str = "    - {name: no-quic, action: deny, match: {transport: quic}}\n";
        let cases = [
            ("enforce", NO_GROQ, 1, false),
            ("warn", NO_GROQ, 0, false),
            ("observe", NO_GROQ, 0, false),
            // Which model it will be is known from the request: that one is refused, and others are not.
            ("enforce", NO_MODEL, 2, false),
            ("enforce", NO_QUIC, 0, true),
        ];
        let catalogue = Catalogue::bundled().unwrap();
        let subject = Facts::default();
        for (mode, rules, count, quic) in cases {
            let engine = engine(&policy(mode, rules));
            let told = Teller::new(&engine, &catalogue, Timestamp::UNIX_EPOCH).told(&subject);
            assert_eq!(told.rules.len(), count, "{mode} {rules}");
            assert_eq!(told.scope & SCOPE_REFUSE_QUIC != 0, quic, "{mode} {rules}");
            assert_eq!(told.refuses(), count > 0 || quic);
            for (key, verdict, reason) in told.verdicts(7).filter(|row| row.1.action == ACTION_DENY)
            {
                assert_eq!(key.class, 7);
                assert!(
                    reason.starts_with("p/no-") && reason.ends_with(": ask us"),
                    "{reason} {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn class_is_the_same_for_all_who_are_told_the_same() {
        let rules = "    - {name: a, action: deny, match: {provider: groq, user: mallory}}\n";
        let engine = engine(&policy("enforce", rules));
        let catalogue = Catalogue::bundled().unwrap();
        let class = |user: &'static str| {
            let mut facts = Facts::default();
            facts.set(Attribute::User, Fact::Known(user));
            Teller::new(&engine, &catalogue, Timestamp::UNIX_EPOCH).told(&facts).class
        };
        assert_eq!(class("alice"), class("bob"));
        assert_ne!(class("alice"), class("mallory"));
    }
}
