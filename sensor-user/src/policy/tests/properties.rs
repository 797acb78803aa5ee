//! Random policies and facts come in; what must hold of every decision is checked.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::policy::Attribute;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Outlook;
use crate::policy::Transport;

use super::decide::set;

/// Attributes that the random documents ask about, each with its few values.
const ASKED: [(Attribute, [&str; 3]); 5] = [
    (Attribute::Namespace, ["team-a", "team-b", "infra"]),
    (Attribute::LoginUser, ["ada", "bob", "oncall"]),
    (Attribute::Provider, ["openai", "groq", "corp"]),
    (Attribute::Model, ["gpt-5", "gpt-5-mini", "claude"]),
    (Attribute::CredentialKind, ["openai.session_key", "openai.project_key", "jwt"]),
];

fn entry() -> impl Strategy<Value = String> {
    let values = prop_oneof![
        (0_usize..5, 0_usize..3).prop_map(|(at, value)| format!(
            "{}: '{}'",
            ASKED[at].0.as_str(),
            ASKED[at].1[value]
        )),
        (0_usize..5, 0_usize..3).prop_map(|(at, value)| {
            format!("{}: {{not: ['{}']}}", ASKED[at].0.as_str(), ASKED[at].1[value])
        }),
        (0_usize..5, 0_usize..3).prop_map(|(at, value)| {
            format!("{}: '{}*'", ASKED[at].0.as_str(), ASKED[at].1[value].get(..2).unwrap())
        }),
    ];
    prop_oneof![
        8 => values,
        1 => select(vec!["transport: opaque".to_owned(), "transport: {not: quic}".to_owned()]),
        1 => select(vec!["approved: true".to_owned(), "approved: false".to_owned()]),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let action = select(vec!["allow", "alert", "deny", "kill"]);
    (action, vec(entry(), 1..3)).prop_map(|(action, mut entries)| {
        entries.dedup_by_key(|entry| entry.split(':').next().map(str::to_owned));
        if entries.len() == 2 && entries[0].split(':').next() == entries[1].split(':').next() {
            entries.pop();
        }
        format!("action: {action}, match: {{{}}}", entries.join(", "))
    })
}

#[derive(Clone, Debug)]
struct Written {
    head: String,
    rules: Vec<String>,
}

fn written() -> impl Strategy<Value = Written> {
    let default = select(vec!["allow", "alert", "deny"]);
    let presume = || select(vec!["allow", "deny"]);
    let who = select(vec![
        "",
        "  subjects: [{namespace: 'team-*'}]\n",
        "  subjects: [{loginUser: ada}, {namespace: infra}]\n",
    ]);
    let share = select(vec!["100%", "40%"]);
    let suspends =
        select(vec!["", "", "  suspends: p0\n  expires: 2027-01-01T00:00:00Z\n  reason: x\n"]);
    (default, presume(), presume(), (who, share, suspends), vec(rule(), 0..5)).prop_map(
        |(default, unknown, opaque, (who, share, suspends), rules)| Written {
            head: format!(
                "  default: {default}\n  unknown: {unknown}\n  opaque: {opaque}\n  rollout: {share}\n{who}{suspends}"
            ),
            rules,
        },
    )
}

/// The documents as YAML; `mode` overrides the modes, `reversed` turns the order of documents and rules around.
fn yaml(policies: &[Written], mode: Option<&str>, reversed: bool) -> String {
    let mut documents: Vec<String> = policies
        .iter()
        .enumerate()
        .map(|(at, policy)| {
            let own = if policy.head.contains("suspends") { "enforce" } else { ["observe", "warn", "enforce"][at % 3] };
            let mode = mode.unwrap_or(own);
            let head = if mode == "enforce" {
                policy.head.clone()
            } else {
                policy.head.split_inclusive('\n').filter(|line| !line.contains("suspends")).collect()
            };
            let mut rules: Vec<_> =
                policy.rules.iter().enumerate().map(|(at, rule)| format!("    - {{name: r{at}, {rule}}}\n")).collect();
            if reversed {
                rules.reverse();
            }
            let rules = if rules.is_empty() { String::new() } else { format!("  rules:\n{}", rules.concat()) };
            format!(
                "---\napiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p{at}}}\nspec:\n  mode: {mode}\n{head}{rules}"
            )
        })
        .collect();
    documents.push("---\napiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: openai}\nspec: {approved: true}\n".to_owned());
    if reversed {
        documents.reverse();
    }
    documents.concat()
}

/// One choice an attribute: a value, none (3), unknown (4).
type Chosen = ([usize; 5], [usize; 2]);

fn facts(chosen: Chosen) -> Facts<'static> {
    let mut facts = Facts::default();
    facts.rest_absent();
    for ((attribute, values), at) in ASKED.iter().zip(chosen.0) {
        let fact = match at {
            3 => Fact::Absent,
            4 => Fact::Unknown,
            value => Fact::Known(values[value]),
        };
        facts.set(*attribute, fact);
    }
    for (way, at) in [Transport::Opaque, Transport::Quic].into_iter().zip(chosen.1) {
        facts.set_transport(way, [Fact::Known(true), Fact::Known(false), Fact::Unknown][at]);
    }
    facts
}

fn chosen() -> impl Strategy<Value = Chosen> {
    (proptest::array::uniform5(0_usize..5), proptest::array::uniform2(0_usize..3))
}

/// Every way in which the unknown can turn out.
fn completions(chosen: Chosen) -> Vec<Chosen> {
    let mut all = vec![chosen];
    for at in (0..5).filter(|at| chosen.0[*at] == 4) {
        all = spread(&all, 4, |one, value| one.0[at] = value);
    }
    for at in (0..2).filter(|at| chosen.1[*at] == 2) {
        all = spread(&all, 2, |one, value| one.1[at] = value);
    }
    all
}

/// Each choice in as many versions as there are values.
fn spread(all: &[Chosen], values: usize, set: impl Fn(&mut Chosen, usize)) -> Vec<Chosen> {
    let version = |one: &Chosen, value: usize| {
        let mut version = *one;
        set(&mut version, value);
        version
    };
    all.iter()
        .flat_map(|one| (0..values).map(|value| version(one, value)).collect::<Vec<_>>())
        .collect()
}

fn now() -> Timestamp {
    "2026-03-02T10:00:00Z".parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_of_rules_and_documents_means_nothing(policies in vec(written(), 1..5), chosen in chosen()) {
        let rename = |decision: crate::policy::Decision| format!("{decision:?}");
        let [forwards, backwards] = [false, true].map(|reversed| {
            rename(Engine::new(set(&yaml(&policies, None, reversed))).decide(&facts(chosen), now()))
        });
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn outlook_agrees_with_every_completion(policies in vec(written(), 1..5), chosen in chosen()) {
        let engine = Engine::new(set(&yaml(&policies, None, false)));
        let effects = |chosen| {
            let decision = engine.decide(&facts(chosen), now());
            (decision.ruling.effect, decision.effect())
        };
        match engine.outlook(&facts(chosen), now()) {
            Outlook::Settled(decision) => {
                let settled = (decision.ruling.effect, decision.effect());
                prop_assert_eq!(effects(chosen), settled);
                for completion in completions(chosen) {
                    prop_assert_eq!(effects(completion), settled, "{:?}", completion);
                }
            }
            Outlook::Open { on } => {
                prop_assert!(!on.is_empty());
                for attribute in on.iter() {
                    let single = ASKED.iter().zip(chosen.0).any(|((asked, _), at)| *asked == attribute && at == 4);
                    prop_assert!(single || (attribute == Attribute::Transport && chosen.1.contains(&2)), "{attribute:?}");
                }
            }
        }
    }

    #[test]
    fn everything_known_is_settled(policies in vec(written(), 1..5), chosen in chosen()) {
        let engine = Engine::new(set(&yaml(&policies, None, false)));
        for completion in completions(chosen).into_iter().take(4) {
            let settled = matches!(engine.outlook(&facts(completion), now()), Outlook::Settled(_));
            prop_assert!(settled);
        }
    }

    #[test]
    fn one_more_deny_never_makes_a_decision_milder(mut policies in vec(written(), 1..4), rule in rule(), chosen in chosen()) {
        let decide = |policies: &[Written]| Engine::new(set(&yaml(policies, None, false))).decide(&facts(chosen), now());
        let before = decide(&policies);
        let (_, asked) = rule.split_once(", ").unwrap();
        policies[0].rules.push(format!("action: deny, {asked}"));
        let after = decide(&policies);
        // A deny that matches takes the place of the default, which may be no stronger than it.
        prop_assert!(after.ruling.effect >= before.ruling.effect.min(Effect::Deny));
        prop_assert!(after.effect() >= before.effect().min(Effect::Deny));
    }

    #[test]
    fn mode_does_not_change_the_ruling(policies in vec(written(), 1..5), chosen in chosen()) {
        let policies: Vec<_> = policies.into_iter().filter(|policy| !policy.head.contains("suspends")).collect();
        let rulings = ["observe", "warn", "enforce"].map(|mode| {
            let ruling = Engine::new(set(&yaml(&policies, Some(mode), false))).decide(&facts(chosen), now()).ruling;
            (ruling.effect, ruling.policy, ruling.rule, ruling.reason, ruling.facts)
        });
        prop_assert_eq!(&rulings[0], &rulings[1]);
        prop_assert_eq!(&rulings[1], &rulings[2]);
    }
}
