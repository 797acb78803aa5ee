//! What is known of calls and their provider come in; what the gate refuses by the kind of their key goes out.

use sensor_common::gate::{RULE_CREDENTIAL, RULE_KEY_PREFIX, RULE_OTHER_CREDENTIAL};

use crate::credential;
use crate::policy::Attribute;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Transport;
use crate::provider::Provider;

use super::content::{NAMELESS, Row, Values};
use super::orders::fingerprint;
use super::told::Order;
use super::words;

impl Values<'_> {
    /// What is said about calls to a provider by the kind of their key, as far as its begin tells it.
    pub(super) fn kinds(&self, facts: &Facts<'_>, provider: &Provider) -> Vec<Row> {
        if !self.key_kinds {
            return Vec::new();
        }
        let mut of_any = facts.clone();
        of_any.set_transport(Transport::Opaque, Fact::Known(false));
        let mut seen = of_any.clone();
        // Keys that policies name whole have rows of their own; which ones a pattern names, the gate cannot tell.
        if !self.keys.others && self.keys.begins.is_empty() {
            seen.set(Attribute::Credential, Fact::Known(NAMELESS));
        }
        let mut said: Vec<(&str, Option<Order>)> = Vec::new();
        for (begin, kinds) in credential::kinds_by_prefix(&provider.name) {
            // Which of several kinds it is, the begin does not tell: they must all be refused.
            let orders =
                kinds.iter().map(|kind| self.refused(&seen, Attribute::CredentialKind, kind));
            let order = orders.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next());
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
        let kinds = said.into_iter().map(|(begin, order)| (place(begin), order));
        let own = self.keys.whole.iter().filter_map(|whole| {
            let value = fingerprint(whole).ok()?;
            let order = self.refused(&of_any, Attribute::Credential, whole);
            Some(((RULE_CREDENTIAL, value), order))
        });
        kinds.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::enforce::Told;
    use crate::enforce::content::tests::{KEY, told_by};
    use crate::enforce::orders::fingerprint;
    use crate::enforce::words;
    use sensor_common::gate::{
        ACTION_ALLOW, ACTION_DENY, RULE_CREDENTIAL, RULE_DESTINATION, RULE_KEY_PREFIX,
        RULE_OTHER_CREDENTIAL, SCOPE_KEYS, value_at,
    };

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
