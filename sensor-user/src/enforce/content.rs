//! Policies, a subject and a provider come in; what the gate refuses by the model and the key of a request goes out.
//!
//! Each value that some policy names is tried in the engine, and so is one of each form, and one that none names: what it
//! says is what the gate says. What is the same at every provider is written once, so that a long list costs its length and
//! no more.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use sensor_common::forms::form_at;
use sensor_common::gate::{
    ACTION_ALLOW, DESTINATION_NONE, RULE_CREDENTIAL, RULE_DESTINATION, RULE_KEY_PREFIX, RULE_MODEL,
    RULE_MODEL_FORM, RULE_OPAQUE, RULE_OTHER_CREDENTIAL, RULE_OTHER_MODEL, RULE_PATH_TAIL,
    SCOPE_CONTENT, SCOPE_KEY_PREFIXES, SCOPE_KEYS, SCOPE_MODELS, SCOPE_NAMES, SCOPE_PATH_TAILS,
    value_at,
};

use crate::policy::Attribute;
use crate::policy::Engine;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Forms;
use crate::policy::Named;
use crate::policy::Transport;
use crate::provider;
use crate::provider::Provider;

use super::told::{Order, Told, refusal};
use super::words;

/// Verdicts by content that one class is told; what is beyond is left to the agent.
const RULES_MAX: usize = 4096;
/// A value, or the rest of one, that no policy names: no model and no fingerprint has such a character.
pub(super) const NAMELESS: &str = "\u{1}";

/// The values that policies name, found once for all subjects and providers.
pub(super) struct Values<'a> {
    engine: &'a Engine,
    now: Timestamp,
    models: Named<'a>,
    forms: Option<&'a Arc<Forms>>,
    pub(super) keys: Named<'a>,
    /// Whether any policy asks for the operation.
    operations: bool,
    /// Whether any policy asks for the kind of key.
    pub(super) key_kinds: bool,
    /// Whether models are judged together with keys.
    pub(super) together: bool,
    /// Verdicts that were not looked for, as there are too many.
    pub(super) left: Cell<usize>,
}

/// One verdict by the kind and value of its rule.
pub(super) type Row = ((u32, [u64; 2]), Option<Order>);

/// What is said about calls by what is in them.
#[derive(PartialEq, Eq)]
pub(super) struct Content {
    models: Vec<Row>,
    keys: Vec<Row>,
    /// Of calls that cannot be seen.
    unseen: Option<Order>,
}

impl<'a> Values<'a> {
    pub(super) fn new(engine: &'a Engine, now: Timestamp) -> Self {
        let named = |attribute| engine.set().named(attribute);
        let (models, keys) = (named(Attribute::Model), named(Attribute::Credential));
        let asks = |attribute| named(attribute) != Named::default();
        let (operations, key_kinds) = (asks(Attribute::Operation), asks(Attribute::CredentialKind));
        let forms = engine.set().forms();
        let together = asks(Attribute::Model) && (key_kinds || asks(Attribute::Credential));
        Self {
            engine,
            now,
            models,
            forms,
            keys,
            operations,
            key_kinds,
            together,
            left: Cell::new(0),
        }
    }

    /// What is said about calls of which everything is known but what is in them.
    pub(super) fn content(&self, facts: &Facts<'_>) -> Content {
        let (seen, mut unseen) = (over_tcp(facts, false), over_tcp(facts, true));
        // The gate knows the destination by the name that the hello shows; what hides behind another it judges by itself.
        unseen.set_transport(Transport::Ech, Fact::Known(false));
        let models = self.models(&seen);
        Content {
            keys: if self.key_kinds { Vec::new() } else { self.keys(&seen, &models) },
            models,
            unseen: refusal(&self.engine.decide(&unseen, self.now)),
        }
    }

    /// What is said about calls to a provider by the operation that the end of their path tells.
    pub(super) fn tails(&self, facts: &Facts<'_>, provider: &Provider) -> Vec<Row> {
        if !self.operations {
            return Vec::new();
        }
        let seen = over_tcp(facts, false);
        let said = provider::tails(provider).into_iter().map(|(tail, operation)| {
            let place = (RULE_PATH_TAIL, [words::hash(tail.as_bytes()), 0]);
            (place, self.refused(&seen, Attribute::Operation, operation.as_str()))
        });
        said.collect()
    }

    /// What the engine says about each model that policies name, and about those of each form.
    pub(super) fn models(&self, facts: &Facts<'_>) -> Vec<Row> {
        let said = |model: &str| self.refused(facts, Attribute::Model, model);
        let whole = self.models.whole.iter();
        let mut rows: Vec<_> =
            whole.map(|whole| ((RULE_MODEL, [words::model(whole), 0]), said(whole))).collect();
        if let Some(forms) = self.forms {
            // Where just those names have a form that rules name whole, nothing is said of it.
            let said = |sample: &Option<String>| sample.as_deref().and_then(said);
            rows.extend((0..).zip(&forms.samples).map(|(form, sample)| {
                ((RULE_MODEL_FORM, [form_at(forms.number, form), 0]), said(sample))
            }));
        } else if self.models.begins.is_empty() && !self.models.others {
            rows.push(((RULE_OTHER_MODEL, [0, 0]), said(NAMELESS)));
        }
        rows
    }

    /// What the engine says about a value; nothing where that depends on more.
    fn refused(&self, facts: &Facts<'_>, attribute: Attribute, value: &str) -> Option<Order> {
        let mut facts = facts.clone();
        facts.set(attribute, Fact::Known(value));
        self.settled(&facts)
    }

    /// The refusal that the engine comes to, whatever else there is to know.
    pub(super) fn settled(&self, facts: &Facts<'_>) -> Option<Order> {
        refusal(&self.engine.bound(facts, self.now)?)
    }
}

/// What is known of calls whose records the gate sees: they are not over QUIC.
pub(super) fn over_tcp<'a>(facts: &Facts<'a>, opaque: bool) -> Facts<'a> {
    let mut facts = facts.clone();
    facts.set_transport(Transport::Opaque, Fact::Known(opaque));
    facts.set_transport(Transport::Quic, Fact::Known(false));
    facts
}

/// What a class is judged by, where it is told of a rule of a kind.
pub(super) fn scope(kind: u32) -> u32 {
    match kind {
        RULE_DESTINATION => SCOPE_NAMES,
        RULE_PATH_TAIL => SCOPE_CONTENT | SCOPE_PATH_TAILS,
        RULE_MODEL | RULE_MODEL_FORM | RULE_OTHER_MODEL => SCOPE_CONTENT | SCOPE_MODELS,
        RULE_CREDENTIAL | RULE_OTHER_CREDENTIAL => SCOPE_CONTENT | SCOPE_KEYS,
        RULE_KEY_PREFIX => SCOPE_CONTENT | SCOPE_KEYS | SCOPE_KEY_PREFIXES,
        RULE_OPAQUE => SCOPE_CONTENT,
        _ => 0,
    }
}

/// Adds what is refused by what is in a request, at each of the destinations that who calls does not settle. With `every`,
/// these are all there are.
pub(super) fn tell(told: &mut Told, open: &[(u32, Rc<Content>)], every: bool) {
    tell_values(told, open, every, |content| &content.models);
    tell_values(told, open, every, |content| &content.keys);
    for (destination, content) in open {
        if let Some(order) = &content.unseen {
            told.rules.insert((RULE_OPAQUE, [u64::from(*destination), 0]), order.clone());
        }
    }
}

/// Adds the rows of one kind of value.
fn tell_values(
    told: &mut Told,
    open: &[(u32, Rc<Content>)],
    every: bool,
    rows: fn(&Content) -> &[Row],
) {
    let mut tables: Vec<_> = open.iter().map(|(leads, content)| (*leads, rows(content))).collect();
    let same = tables.windows(2).all(|pair| matches!(pair, [(_, one), (_, two)] if one == two));
    if every && same {
        tables.truncate(1);
        for (destination, _) in &mut tables {
            *destination = DESTINATION_NONE;
        }
    }
    for (destination, rows) in tables {
        add(told, destination, rows);
    }
}

/// Adds rows where any of them refuses: what a narrower one allows is written only beside what a wider one refuses. Rows
/// that are too many are counted, and left to the agent.
pub(super) fn add(told: &mut Told, destination: u32, rows: &[Row]) {
    let refuses = rows.iter().any(|(_, order)| order.is_some());
    if !refuses {
        return;
    }
    if told.rules.len().saturating_add(rows.len()) > RULES_MAX {
        told.left = told.left.saturating_add(rows.len());
        return;
    }
    for ((kind, value), order) in rows {
        let order = order.clone().unwrap_or_else(|| Order {
            action: ACTION_ALLOW,
            reason: String::new(),
            cuts: false,
            group: 0,
        });
        told.rules.insert((*kind, value_at(*value, destination)), order);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::enforce::Teller;
    use crate::enforce::orders::fingerprint;
    use crate::policy::{Set, Source};
    use crate::provider::Catalogue;
    use sensor_common::forms::value_in;
    use sensor_common::gate::{ACTION_DENY, RULE_DESTINATION, SCOPE_REFUSE_QUIC};

    pub(in crate::enforce) const KEY: &str = "0123456789abcdef0123456789abcdef";

    pub(in crate::enforce) fn told_by(rules: &str, more: &str) -> Told {
        let text = format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  {more}\n  rules:\n{rules}"
        );
        let source = Source { file: "test.yaml".to_owned(), text };
        let engine = Engine::new(Set::read(&[source]).unwrap().0);
        let catalogue = Catalogue::bundled().unwrap();
        Teller::new(&engine, &catalogue, Timestamp::UNIX_EPOCH).told(&Facts::default())
    }

    /// What the gate does with a model at a provider, by the same look-ups.
    pub(in crate::enforce) fn refuses_model(
        told: &Told,
        (provider, group): (&str, u32),
        model: &str,
    ) -> bool {
        let leads = words::destination(provider);
        let find = |kind, value| {
            let value = value_in(value, group);
            let here = told.rules.get(&(kind, value_at(value, leads)));
            here.or_else(|| told.rules.get(&(kind, value)))
        };
        let by_form = || match &told.forms {
            Some(forms) => find(RULE_MODEL_FORM, form_at(forms.number, forms.form(model))),
            None => find(RULE_OTHER_MODEL, 0),
        };
        let found = find(RULE_MODEL, words::model(model)).or_else(by_form);
        found.is_some_and(|order| order.action == ACTION_DENY)
    }

    #[test]
    fn gate_says_of_models_what_the_engine_says() {
        const ONLY: &str = "    - {name: ok, action: allow, match: {model: [gpt-4o-mini, \"o3*\", \"meta/*\"]}}\n    - {name: dear, action: deny, match: {model: o3-pro}}\n";
        let told = told_by(ONLY, "default: deny");
        for (model, refused) in [
            ("gpt-4o-mini", false),
            ("gpt-4o-mini-2", true),
            ("o3", false),
            ("o3-mini", false),
            ("o3-pro", true),
            ("o3/x", true),
            ("meta/llama", false),
            ("meta/llama/x", true),
            ("claude", true),
        ] {
            assert_eq!(refuses_model(&told, ("openai", 0), model), refused, "{model}");
        }
        assert_ne!(told.scope & SCOPE_CONTENT, 0);
    }

    #[test]
    fn models_are_refused_by_patterns_of_every_form() {
        const FORMS: &str = "    - {name: a, action: deny, match: {model: {in: [\"*-pro\", \"gpt-*-mini\", \"*codex*\", big], not: [o1-pro]}}}\n";
        let told = told_by(FORMS, "default: allow");
        for (model, refused) in [
            ("big", true),
            ("o3-pro", true),
            ("o1-pro", false),
            ("o3-pro-1", false),
            ("org/o3-pro", false),
            ("gpt-5-mini", true),
            ("gpt-mini", false),
            ("gpt-5.1-codex-max", true),
            ("gpt-5", false),
        ] {
            assert_eq!(refuses_model(&told, ("openai", 0), model), refused, "{model}");
        }
        // Patterns that need too many states are the agent's; what is named whole is still certain.
        let many = (10..40).map(|at| format!("\"*a{at}b*\"")).collect::<Vec<_>>().join(", ");
        let many = format!("    - {{name: a, action: deny, match: {{model: [big, {many}]}}}}\n");
        let told = told_by(&many, "default: allow");
        assert!(refuses_model(&told, ("openai", 0), "big"));
        assert!(!refuses_model(&told, ("openai", 0), "xa10b"));
    }

    #[test]
    fn rule_about_one_provider_says_nothing_at_another() {
        const ONE: &str =
            "    - {name: no, action: deny, match: {provider: openai, model: \"gpt-4*\"}}\n";
        let told = told_by(ONE, "default: allow");
        assert!(refuses_model(&told, ("openai", 0), "gpt-4o"));
        assert!(!refuses_model(&told, ("groq", 0), "gpt-4o"));
    }

    #[test]
    fn keys_not_in_a_list_are_refused() {
        let listed = format!("    - {{name: ours, action: allow, match: {{credential: {KEY}}}}}\n");
        let told = told_by(&listed, "default: deny");
        let own = told.rules.get(&(RULE_CREDENTIAL, fingerprint(KEY).unwrap()));
        assert_eq!(own.map(|order| order.action), Some(ACTION_ALLOW));
        let others = told.rules.get(&(RULE_OTHER_CREDENTIAL, [0, 0]));
        assert_eq!(others.map(|order| order.action), Some(ACTION_DENY));
        assert_eq!(value_at([1, 2], DESTINATION_NONE), [1, 2]);
    }

    #[test]
    fn rule_about_one_host_says_nothing_at_another_of_its_provider() {
        const ONE: &str = "    - {name: no, action: deny, match: {host: api.openai.com}}\n";
        let told = told_by(ONE, "default: allow");
        let rows: Vec<_> = told.rules.iter().collect();
        let [((kind, [number, _]), order)] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((*kind, order.action), (RULE_DESTINATION, ACTION_DENY));
        assert_ne!(*number, u64::from(words::destination("openai")));
    }

    #[test]
    fn long_list_is_written_once_and_what_is_beyond_the_bound_is_counted() {
        let listed = |count: usize, provider: &str| {
            let names = (0..count).map(|at| format!("m{at}")).collect::<Vec<_>>().join(", ");
            format!("    - {{name: l, action: deny, match: {{{provider}model: [{names}]}}}}\n")
        };
        let told = told_by(&listed(1000, ""), "default: allow");
        // One for each, and one for all others, which is allowed.
        assert_eq!((told.rules.len(), told.left), (1001, 0));
        assert!(
            refuses_model(&told, ("openai", 0), "m999") && refuses_model(&told, ("groq", 0), "m0")
        );
        assert!(!refuses_model(&told, ("openai", 0), "m1000"));
        // At two of many providers the list stands twice.
        let told = told_by(&listed(3000, "provider: [openai, groq], "), "default: allow");
        assert_eq!((told.rules.len(), told.left % 3001), (3001, 0));
        assert_ne!(told.left, 0);
        let both = ["openai", "groq"].map(|provider| refuses_model(&told, (provider, 0), "m7"));
        assert_eq!(both.iter().filter(|refuses| **refuses).count(), 1);
    }

    #[test]
    fn what_cannot_be_seen_is_refused_where_the_policy_says_so() {
        const NO_BIG: &str =
            "    - {name: no, action: deny, match: {provider: openai, model: big}}\n";
        let opaque = |told: &Told, provider| {
            told.rules.contains_key(&(RULE_OPAQUE, [u64::from(words::destination(provider)), 0]))
        };
        let strict = told_by(NO_BIG, "opaque: deny\n  default: allow");
        assert!(opaque(&strict, "openai") && !opaque(&strict, "groq"));
        assert!(!opaque(&told_by(NO_BIG, "default: allow"), "openai"));
        // What the gate sees is not over QUIC, and its destination is known by the name in the hello.
        for way in ["quic", "ech"] {
            let rule = format!("    - {{name: no, action: deny, match: {{transport: {way}}}}}\n");
            let told = told_by(&rule, "unknown: deny\n  default: allow");
            assert!(!opaque(&told, "openai"), "{way}");
            assert_eq!(told.scope & SCOPE_REFUSE_QUIC != 0, way == "quic");
        }
    }
}
