//! What is known of calls and their provider come in; what the gate refuses by the key, by its kind, and by the key and the
//! model together goes out.
//!
//! Where a model is refused to some keys only, the gate puts keys into groups: those of one group are refused the same
//! models. Keys of which it knows nothing, or with which no more is refused than without, are in group 0.

use sensor_common::forms::value_in;
use sensor_common::gate::{ACTION_GROUP, RULE_CREDENTIAL, RULE_KEY_PREFIX, RULE_OTHER_CREDENTIAL};

use crate::credential;
use crate::policy::Attribute;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::provider::Provider;

use super::content::{NAMELESS, Row, Values, over_tcp};
use super::orders::fingerprint;
use super::told::Order;
use super::words;

/// Models that are tried together with keys at one destination; what is beyond is left to the agent.
const TOGETHER_MAX: usize = 2048;

/// What is said about keys at a destination.
struct Keys<'a> {
    values: &'a Values<'a>,
    /// What is said about models, whatever their key.
    models: &'a [Row],
    rows: Vec<Row>,
    /// Rows of groups, with the number of each.
    groups: Vec<(u32, Vec<Row>)>,
    /// Models that were tried with keys.
    tried: usize,
}

impl Values<'_> {
    /// What is said about calls by their key: one that policies name, or any other.
    pub(super) fn keys(&self, facts: &Facts<'_>, models: &[Row]) -> Vec<Row> {
        let mut keys = Keys::new(self, models);
        keys.own(facts);
        // What a key is that no rule names cannot be said where patterns may name it.
        if self.keys.begins.is_empty() && !self.keys.others {
            let mut other = facts.clone();
            other.set(Attribute::Credential, Fact::Known(NAMELESS));
            let order = keys.order(&[other]);
            keys.rows.push(((RULE_OTHER_CREDENTIAL, [0, 0]), order));
        }
        keys.all()
    }

    /// What is said about calls to a provider by the kind of their key, as far as its begin tells it.
    pub(super) fn kinds(&self, facts: &Facts<'_>, provider: &Provider) -> Vec<Row> {
        if !self.key_kinds {
            return Vec::new();
        }
        let of_any = over_tcp(facts, false);
        let models = if self.together { self.models(&of_any) } else { Vec::new() };
        let mut keys = Keys::new(self, &models);
        let mut seen = of_any.clone();
        // Keys that policies name whole have rows of their own; which ones a pattern names, the gate cannot tell.
        if !self.keys.others && self.keys.begins.is_empty() {
            seen.set(Attribute::Credential, Fact::Known(NAMELESS));
        }
        let mut said: Vec<(&str, Option<Order>)> = Vec::new();
        for (begin, kinds) in credential::kinds_by_prefix(&provider.name) {
            let of_kind = |kind| {
                let mut facts = seen.clone();
                facts.set(Attribute::CredentialKind, Fact::Known(kind));
                facts
            };
            let order = keys.order(&kinds.into_iter().map(of_kind).collect::<Vec<_>>());
            // Begins stand in the order of their letters: a shorter one comes before those that go on from it.
            let shorter = said.iter().rfind(|(known, _)| begin.starts_with(known));
            if shorter.is_none_or(|(_, known)| *known != order) {
                said.push((begin, order));
            }
        }
        let place = |begin: &str| match begin {
            "" => (RULE_OTHER_CREDENTIAL, [0, 0]),
            begin => (RULE_KEY_PREFIX, [words::hash(begin.as_bytes()), 0]),
        };
        keys.rows.extend(said.into_iter().map(|(begin, order)| (place(begin), order)));
        keys.own(&of_any);
        keys.all()
    }
}

impl<'a> Keys<'a> {
    fn new(values: &'a Values<'a>, models: &'a [Row]) -> Self {
        Self { values, models, rows: Vec::new(), groups: Vec::new(), tried: 0 }
    }

    /// Adds the keys that policies name.
    fn own(&mut self, facts: &Facts<'_>) {
        let values = self.values;
        for whole in &values.keys.whole {
            let Ok(value) = fingerprint(whole) else { continue };
            let mut own = facts.clone();
            own.set(Attribute::Credential, Fact::Known(whole));
            let order = self.order(&[own]);
            self.rows.push(((RULE_CREDENTIAL, value), order));
        }
    }

    /// What is said of a key of which one of these is known: which one, its begin does not tell, so they must all be refused.
    fn order(&mut self, alternatives: &[Facts<'_>]) -> Option<Order> {
        let mut orders = alternatives.iter().map(|facts| self.values.settled(facts));
        let first = orders.next()?;
        if first.is_some() && orders.all(|order| order.is_some()) {
            return first;
        }
        self.group(alternatives)
    }

    /// The group of such a key, where models are refused to it that are not refused to every key.
    fn group(&mut self, alternatives: &[Facts<'_>]) -> Option<Order> {
        let values = self.values;
        if !values.together {
            return None;
        }
        self.tried =
            self.tried.saturating_add(self.models.len().saturating_mul(alternatives.len()));
        if self.tried > TOGETHER_MAX {
            values.left.set(values.left.get().saturating_add(self.models.len()));
            return None;
        }
        let mut tables = alternatives.iter().map(|facts| values.models(facts));
        let mut rows = tables.next()?;
        for other in tables {
            for ((_, order), (_, other)) in rows.iter_mut().zip(other) {
                *order = order.take().filter(|_| other.is_some());
            }
        }
        if rows == self.models {
            return None;
        }
        let group = words::group(&format!("{rows:?}"));
        if self.groups.iter().all(|(known, _)| *known != group) {
            self.groups.push((group, rows));
        }
        Some(Order { action: ACTION_GROUP, reason: String::new(), cuts: false, group })
    }

    /// All rows, with those of the groups.
    fn all(self) -> Vec<Row> {
        let mut rows = self.rows;
        for (group, models) in self.groups {
            let inside = |((kind, [value, _]), order): Row| ((kind, value_in(value, group)), order);
            rows.extend(models.into_iter().map(inside));
        }
        rows
    }
}
#[cfg(test)]
mod tests {
    use crate::enforce::Told;
    use crate::enforce::content::tests::{KEY, refuses_model, told_by};
    use crate::enforce::orders::fingerprint;
    use crate::enforce::words;
    use sensor_common::gate::{
        ACTION_ALLOW, ACTION_DENY, ACTION_GROUP, RULE_CREDENTIAL, RULE_DESTINATION,
        RULE_KEY_PREFIX, RULE_OTHER_CREDENTIAL, SCOPE_KEYS, SCOPE_MODELS, value_at,
    };

    /// Whether the gate refuses a model to the key with a place among the rules.
    fn refuses(told: &Told, (kind, value): (u32, [u64; 2]), model: &str) -> bool {
        let here = (kind, value_at(value, words::destination("openai")));
        let said = told.rules.get(&here).or_else(|| told.rules.get(&(kind, value)));
        match said.map(|order| order.action) {
            Some(ACTION_DENY) => true,
            Some(ACTION_GROUP) => refuses_model(told, ("openai", said.unwrap().group), model),
            _ => refuses_model(told, ("openai", 0), model),
        }
    }

    #[test]
    fn model_is_refused_to_some_keys_and_not_to_others() {
        let own = (RULE_CREDENTIAL, fingerprint(KEY).unwrap());
        let other = (RULE_OTHER_CREDENTIAL, [0, 0]);
        let project = (RULE_KEY_PREFIX, [words::hash(b"sk-proj-"), 0]);
        let unknown = (RULE_CREDENTIAL, [1, 2]);
        let deny = |key: &str| {
            format!("    - {{name: b, action: deny, match: {{model: [big, \"*-pro\"], {key}}}}}\n")
        };
        let only = format!(
            "    - {{name: a, action: allow, match: {{model: big, credential: {KEY}}}}}\n    - {{name: b, action: allow, match: {{model: small}}}}\n"
        );
        let cases: [(String, &str, &[_], &[_]); 4] = [
            (deny(&format!("credential: {KEY}")), "allow", &[own], &[other, unknown]),
            (deny(&format!("credential: {{not: [{KEY}]}}")), "allow", &[other], &[own, unknown]),
            (deny("credentialKind: openai.project_key"), "allow", &[project], &[other, unknown]),
            (only, "deny", &[other], &[own, unknown]),
        ];
        for (rules, default, refused, allowed) in cases {
            let told = told_by(&rules, &format!("default: {default}"));
            let keys = refused.iter().map(|key| (*key, true));
            for (key, expected) in keys.chain(allowed.iter().map(|key| (*key, false))) {
                assert_eq!(refuses(&told, key, "big"), expected, "{rules} {key:?}");
                assert!(!refuses(&told, key, "small"), "{rules} {key:?}");
                let is_pro = refuses(&told, key, "o3-pro");
                assert_eq!(is_pro, expected || default == "deny", "{rules} {key:?}");
            }
            assert_ne!(told.scope & SCOPE_MODELS, 0);
            assert_ne!(told.scope & SCOPE_KEYS, 0);
        }
    }

    #[test]
    fn more_keys_and_models_than_are_tried_together_are_left_to_the_agent() {
        let models = (0..100).map(|at| format!("m{at}")).collect::<Vec<_>>().join(", ");
        let keys = (0..100).map(|at| format!("\"{at:032x}\"")).collect::<Vec<_>>().join(", ");
        let rules = format!(
            "    - {{name: b, action: deny, match: {{model: [{models}], credential: [{keys}]}}}}\n"
        );
        let told = told_by(&rules, "default: allow");
        assert_ne!(told.left, 0);
        let own = |at: u64| (RULE_CREDENTIAL, [0, at]);
        assert!(refuses(&told, own(0), "m99") && !refuses(&told, own(99), "m99"));
    }

    #[test]
    fn kinds_of_keys_are_told_by_what_they_begin_with() {
        const NO_OAUTH: &str =
            "    - {name: no, action: deny, match: {credentialKind: anthropic.oauth_token}}\n";
        const ONLY: &str = "    - {name: ok, action: allow, match: {provider: openai, credentialKind: openai.project_key}}\n";
        let refused = |told: &Told, provider: &str, begin: &str| {
            let value = value_at([words::hash(begin.as_bytes()), 0], words::destination(provider));
            told.rules.get(&(RULE_KEY_PREFIX, value)).map(|order| order.action == ACTION_DENY)
        };
        let others = |told: &Told, provider: &str| {
            let value = value_at([0, 0], words::destination(provider));
            told.rules.get(&(RULE_OTHER_CREDENTIAL, value)).map(|order| order.action == ACTION_DENY)
        };
        let told = told_by(NO_OAUTH, "default: allow");
        assert_eq!(refused(&told, "anthropic", "sk-ant-oat"), Some(true));
        // What is said of it is said of what it begins with, too.
        assert_eq!(refused(&told, "anthropic", "sk-ant-api"), None);
        assert_eq!(others(&told, "anthropic"), Some(false));
        assert_ne!(told.scope & SCOPE_KEYS, 0);
        let told = told_by(ONLY, "default: deny");
        assert_eq!(refused(&told, "openai", "sk-proj-"), Some(false));
        assert_eq!(others(&told, "openai"), Some(true));
        let settled = (RULE_DESTINATION, [u64::from(words::destination("anthropic")), 0]);
        assert!(told.rules.contains_key(&settled));
    }

    #[test]
    fn key_that_a_rule_about_kinds_leaves_out_is_not_refused_by_its_begin() {
        let but = |keys: &str| {
            format!(
                "    - {{name: but, action: deny, match: {{provider: openai, credentialKind: {{not: [openai.project_key]}}, credential: {{not: [{keys}]}}}}}}\n"
            )
        };
        let here = |value| value_at(value, words::destination("openai"));
        let others = (RULE_OTHER_CREDENTIAL, here([0, 0]));
        let told = told_by(&but(KEY), "default: allow");
        assert_eq!(told.rules.get(&others).map(|order| order.action), Some(ACTION_DENY));
        let own = told.rules.get(&(RULE_CREDENTIAL, here(fingerprint(KEY).unwrap())));
        assert_eq!(own.map(|order| order.action), Some(ACTION_ALLOW));
        // Whose fingerprint a pattern leaves out, only the agent knows.
        let told = told_by(&but("\"0123*\""), "default: allow");
        assert!(told.rules.values().all(|order| order.action != ACTION_DENY), "{told:?}");
    }
}
