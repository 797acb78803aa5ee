//! Policies and calls come in; decisions are compared.

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Existing;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Mode;
use crate::policy::Outlook;
use crate::policy::Set;
use crate::policy::Source;
use crate::policy::Transport;

pub(super) fn set(text: &str) -> Set {
    let source = Source { file: "p.yaml".to_owned(), text: text.to_owned() };
    match Set::read(&[source]) {
        Ok((set, _)) => set,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn now() -> Timestamp {
    "2026-03-02T10:00:00Z".parse().unwrap()
}

fn policy(name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: {name}}}\nspec:\n{rest}\n"
    )
}

const APPROVED: &str = "
  mode: enforce
  default: deny
  reason: ask the platform team
  subjects: [{namespace: 'team-*'}]
  unknown: deny
  opaque: deny
  rules:
    - name: contract
      action: allow
      match: {provider: [openai, anthropic]}
    - name: no-large
      action: deny
      match: {model: gpt-5-pro*}
      reason: too dear
    - name: own-keys
      action: deny
      match: {credentialKind: {in: '*', not: openai.project_key}}
";

fn facts<'a>(known: &[(Attribute, &'a str)]) -> Facts<'a> {
    let mut facts = Facts::default();
    for (attribute, value) in known {
        facts.set(*attribute, Fact::Known(value));
    }
    facts.rest_absent();
    facts
}

fn words(decision: &Decision) -> (Effect, Option<&str>, Option<&str>) {
    let ruling = &decision.ruling;
    (ruling.effect, ruling.rule.as_deref(), ruling.reason.as_deref())
}

#[test]
fn deny_overrides_allow_and_the_decision_names_its_grounds() {
    let engine = Engine::new(set(&policy("approved", APPROVED)));
    let base = [(Attribute::Namespace, "team-a"), (Attribute::Provider, "openai")];
    let small = facts(&[&base[..], &[(Attribute::Model, "gpt-5-mini")]].concat());
    let ask = Some("ask the platform team");
    assert_eq!(words(&engine.decide(&small, now())), (Effect::Allow, Some("contract"), ask));
    let large = facts(&[&base[..], &[(Attribute::Model, "gpt-5-pro-2026")]].concat());
    let decision = engine.decide(&large, now());
    assert_eq!(words(&decision), (Effect::Deny, Some("no-large"), Some("too dear")));
    assert_eq!(decision.effect(), Effect::Deny);
    let grounds = [(Attribute::Namespace, "team-a"), (Attribute::Model, "gpt-5-pro-2026")];
    assert_eq!(decision.ruling.facts, grounds.map(|(name, value)| (name, value.to_owned())));
    let key = facts(&[&base[..], &[(Attribute::CredentialKind, "openai.session_key")]].concat());
    assert_eq!(words(&engine.decide(&key, now())), (Effect::Deny, Some("own-keys"), ask));
    let other = facts(&[(Attribute::Namespace, "team-a"), (Attribute::Provider, "groq")]);
    assert_eq!(words(&engine.decide(&other, now())), (Effect::Deny, None, ask));
    let elsewhere = facts(&[(Attribute::Namespace, "infra"), (Attribute::Provider, "groq")]);
    let decision = engine.decide(&elsewhere, now());
    assert_eq!(words(&decision), (Effect::Allow, None, None));
    assert_eq!(decision.binding, None);
}

#[test]
fn unknown_is_read_as_the_policy_says_and_leaves_the_outlook_open() {
    let engine = Engine::new(set(&policy("approved", APPROVED)));
    let mut early = facts(&[(Attribute::Namespace, "team-a"), (Attribute::Provider, "openai")]);
    early.forget(Attribute::Model);
    let Outlook::Open { on } = engine.outlook(&early, now()) else { panic!() };
    assert_eq!(on.iter().collect::<Vec<_>>(), [Attribute::Model]);
    let decision = engine.decide(&early, now());
    assert_eq!(words(&decision).0, Effect::Deny);
    assert!(decision.ruling.presumed);
    // No model can save a provider that is not approved.
    early.set(Attribute::Provider, Fact::Known("groq"));
    let Outlook::Settled(decision) = engine.outlook(&early, now()) else { panic!() };
    assert_eq!(decision.effect(), Effect::Deny);
    // The same is left to pass where the policy says so.
    let mild = APPROVED
        .replace("unknown: deny", "unknown: allow")
        .replace("opaque: deny", "opaque: allow");
    let engine = Engine::new(set(&policy("approved", &mild)));
    early.set(Attribute::Provider, Fact::Known("openai"));
    assert_eq!(words(&engine.decide(&early, now())).0, Effect::Allow);
}

#[test]
fn opaque_decides_about_content_that_will_never_be_seen() {
    let split = APPROVED.replace("unknown: deny", "unknown: allow");
    let engine = Engine::new(set(&policy("approved", &split)));
    let mut blind = facts(&[(Attribute::Namespace, "team-a"), (Attribute::Provider, "openai")]);
    blind.forget(Attribute::Model);
    assert_eq!(words(&engine.decide(&blind, now())).0, Effect::Allow);
    blind.set_transport(Transport::Opaque, Fact::Known(true));
    assert_eq!(words(&engine.decide(&blind, now())).0, Effect::Deny);
}

#[test]
fn mode_changes_what_is_done_and_not_what_is_decided() {
    let groq = facts(&[(Attribute::Namespace, "team-a"), (Attribute::Provider, "groq")]);
    for mode in ["observe", "warn", "enforce"] {
        let text = APPROVED.replace("mode: enforce", &format!("mode: {mode}"));
        let decision = Engine::new(set(&policy("p", &text))).decide(&groq, now());
        assert_eq!(words(&decision).0, Effect::Deny);
        let done = if mode == "enforce" { Effect::Deny } else { Effect::Allow };
        assert_eq!((decision.effect(), decision.would().is_some()), (done, mode != "enforce"));
    }
}

#[test]
fn of_equally_strong_policies_the_one_that_binds_is_told_and_any_closes() {
    let no_groq = |name: &str, mode: &str, existing: &str| {
        let rest = format!(
            "  mode: {mode}\n  default: allow\n  existing: {existing}\n  rules: [{{name: no, action: deny, match: {{provider: groq}}}}]"
        );
        policy(name, &rest)
    };
    let groq = facts(&[(Attribute::Provider, "groq")]);
    let decide = |text: &str| Engine::new(set(text)).decide(&groq, now());
    let decision =
        decide(&(no_groq("a-watch", "observe", "close") + &no_groq("b-block", "enforce", "keep")));
    let told = (decision.told().policy.as_deref(), decision.told().mode);
    assert_eq!(told, (Some("b-block"), Mode::Enforce));
    // What only watches cuts nothing.
    let existing = |decision: &Decision| decision.binding.as_ref().map(|ruling| ruling.existing);
    assert_eq!(existing(&decision), Some(Existing::Keep));
    let decision = decide(&(no_groq("a", "enforce", "keep") + &no_groq("b", "enforce", "close")));
    assert_eq!(decision.told().policy.as_deref(), Some("a"));
    assert_eq!(existing(&decision), Some(Existing::Close));
    // A stronger one that binds nobody is still what is told.
    let kill = no_groq("c", "warn", "keep").replace("deny", "kill");
    let decision = decide(&(kill + &no_groq("d", "enforce", "keep")));
    assert_eq!((decision.told().policy.as_deref(), decision.effect()), (Some("c"), Effect::Deny));
}

#[test]
fn exception_suspends_until_it_expires() {
    let glass = "
  mode: enforce
  default: alert
  subjects: [{loginUser: oncall}]
  suspends: approved
  expires: 2026-03-02T12:00:00Z
  reason: incident
";
    let engine = Engine::new(set(&(policy("approved", APPROVED) + &policy("glass", glass))));
    let base = [(Attribute::Namespace, "team-a"), (Attribute::Provider, "groq")];
    let oncall = facts(&[&base[..], &[(Attribute::LoginUser, "oncall")]].concat());
    assert_eq!(engine.decide(&oncall, now()).effect(), Effect::Alert);
    let expired = "2026-03-02T12:00:00Z".parse().unwrap();
    assert_eq!(engine.next_change(now()), Some(expired));
    assert_eq!(engine.decide(&oncall, expired).effect(), Effect::Deny);
    let mut unsure = facts(&base);
    unsure.forget(Attribute::LoginUser);
    assert_eq!(engine.decide(&unsure, now()).effect(), Effect::Deny);
    assert!(matches!(engine.outlook(&unsure, now()), Outlook::Open { .. }));
}

#[test]
fn exception_suspends_nothing_outside_its_share() {
    let glass = "
  mode: enforce
  default: alert
  suspends: approved
  rollout: 50%
  expires: 2026-03-02T12:00:00Z
  reason: incident
";
    let engine = Engine::new(set(&(policy("approved", APPROVED) + &policy("glass", glass))));
    let base = [(Attribute::Namespace, "team-a"), (Attribute::Provider, "groq")];
    let names: Vec<_> = (0..200).map(|number| format!("pod-{number}")).collect();
    let lifted = names.iter().filter(|name| {
        let facts = facts(&[&base[..], &[(Attribute::Pod, name.as_str())]].concat());
        engine.decide(&facts, now()).effect() == Effect::Alert
    });
    assert!((70..130).contains(&lifted.count()));
    // Whether an unknown pod is in the share is not certain.
    let mut unsure = facts(&base);
    unsure.forget(Attribute::Pod);
    assert_eq!(engine.decide(&unsure, now()).effect(), Effect::Deny);
    assert!(matches!(engine.outlook(&unsure, now()), Outlook::Open { .. }));
}

#[test]
fn rollout_observes_outside_its_share() {
    let text = APPROVED.replace("mode: enforce", "mode: enforce\n  rollout: 50%");
    let engine = Engine::new(set(&policy("p", &text)));
    let names: Vec<_> = (0..200).map(|number| format!("pod-{number}")).collect();
    let refused = names.iter().filter(|name| {
        let base = [(Attribute::Namespace, "team-a"), (Attribute::Provider, "groq")];
        let facts = facts(&[&base[..], &[(Attribute::Pod, name.as_str())]].concat());
        let decision = engine.decide(&facts, now());
        assert_eq!(decision.ruling.effect, Effect::Deny);
        decision.effect() == Effect::Deny
    });
    assert!((70..130).contains(&refused.count()));
}

#[test]
fn approval_transport_and_time_are_asked_about() {
    let text = policy(
        "p",
        "
  mode: enforce
  default: allow
  rules:
    - {name: unapproved, action: deny, match: {approved: false, provider: '*'}}
    - {name: quic, action: deny, match: {transport: [quic, ech]}}
    - {name: night, action: alert, match: {time: {zone: UTC, from: '22:00', to: '06:00'}}}
",
    ) + "---\napiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: openai}\nspec: {approved: true}\n";
    let engine = Engine::new(set(&text));
    let decide = |facts: &Facts<'_>, at: &str| {
        engine.decide(facts, at.parse().unwrap()).ruling.rule.as_deref().map(str::to_owned)
    };
    let (noon, night) = ("2026-03-02T12:00:00Z", "2026-03-02T23:00:00Z");
    let mut call = facts(&[(Attribute::Provider, "openai")]);
    assert_eq!(decide(&call, noon), None);
    assert_eq!(decide(&call, night).as_deref(), Some("night"));
    call.set_transport(Transport::Ech, Fact::Known(true));
    assert_eq!(decide(&call, night).as_deref(), Some("quic"));
    assert_eq!(
        decide(&facts(&[(Attribute::Provider, "groq")]), noon).as_deref(),
        Some("unapproved")
    );
}
