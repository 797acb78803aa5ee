//! Pods that are known, or not known yet, come in; what is settled about them before a call is compared.

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::Given;
use crate::policy::Outlook;
use crate::policy::Set;
use crate::policy::Source;
use crate::policy::Transport;
use crate::workload::About;
use crate::workload::Container;
use crate::workload::Labels;
use crate::workload::Pod;
use crate::workload::Workload;

/// A process in a container of which its runtime has said this, or nothing yet.
fn workload(about: Option<About>) -> Workload {
    let container = Container::new("ab".repeat(32), "unknown");
    let container = about.map_or(container.clone(), |about| container.with(about));
    Workload {
        pid: 1,
        start_ticks: 1,
        executable: "/bin/x".to_owned(),
        command_line: Vec::new(),
        ancestors: Vec::new(),
        uid: "0".to_owned(),
        user: None,
        login_user: None,
        login_session: None,
        cgroup: "/kubepods/x".to_owned(),
        container: Some(container),
        systemd_unit: None,
    }
}

fn in_pod(namespace: &str, labels: Labels) -> About {
    let pod = Pod { namespace: namespace.to_owned(), name: "p".to_owned(), uid: "u".to_owned() };
    About {
        runtime: "containerd",
        pod: Some(pod.into()),
        labels: Some(labels.into()),
        is_whole: true,
        ..About::default()
    }
}

fn team(name: &str) -> Labels {
    Labels { pairs: vec![("team".to_owned(), name.to_owned())], is_whole: true }
}

/// Whether a call to Groq is refused for certain; of the subject, what a workload says is known.
fn refuses(unknown: &str, rest: &str, workload: Option<&Workload>) -> bool {
    let default = if rest.contains("default:") { "" } else { "  default: allow\n" };
    let text = format!(
        "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n{default}  unknown: {unknown}\n  reason: ask us\n{rest}"
    );
    let source = Source { file: "test.yaml".to_owned(), text };
    let engine = Engine::new(Set::read(&[source]).unwrap().0);
    let mut facts = Facts::default();
    if let Some(workload) = workload {
        facts.set_workload(workload);
    }
    facts.set(Attribute::Provider, Fact::Known("groq"));
    let Outlook::Settled(decision) = engine.outlook(&facts, Timestamp::UNIX_EPOCH) else {
        return false;
    };
    // What is settled for a subject is what is decided about its call.
    let decided = engine.decide(&facts, Timestamp::UNIX_EPOCH);
    assert_eq!(decided.effect(), decision.effect());
    decision.binding.is_some_and(|ruling| ruling.effect.refuses())
}

#[test]
fn pod_that_is_not_known_yet_is_told_what_unknown_says_and_nobody_in_particular_nothing() {
    const BY_SUBJECT: &str = "  subjects: [{namespace: shop}]\n  rules: [{name: a, action: deny, match: {provider: groq}}]\n";
    const BY_RULE: &str =
        "  rules: [{name: a, action: deny, match: {provider: groq, labels: {team: shop}}}]\n";
    const BESIDE_ALERT: &str = "  rules: [{name: a, action: deny, match: {provider: groq}}, {name: b, action: alert, match: {namespace: shop}}]\n";
    const SHARED_OUT: &str = "  rollout: 100%\n  rules: [{name: a, action: deny, match: {provider: groq, pod: p, image: x}}]\n";
    // Whether it is refused: a pod not known, with `unknown: deny` and `allow`; another's pod; the shop's; anybody.
    let cases = [
        (BY_SUBJECT, [true, false, false, true, false]),
        (BY_RULE, [true, false, false, true, false]),
        (BESIDE_ALERT, [true, true, true, true, true]),
        (SHARED_OUT, [true, false, false, false, false]),
    ];
    let [unknown, other, shop] = [
        workload(None),
        workload(Some(in_pod("other", team("other")))),
        workload(Some(in_pod("shop", team("shop")))),
    ];
    for (rest, expected) in cases {
        let found = [
            refuses("deny", rest, Some(&unknown)),
            refuses("allow", rest, Some(&unknown)),
            refuses("deny", rest, Some(&other)),
            refuses("allow", rest, Some(&shop)),
            refuses("deny", rest, None),
        ];
        assert_eq!(found, expected, "{rest}");
    }
}

#[test]
fn default_that_denies_is_lifted_as_unknown_says() {
    const SHOP: &str =
        "  default: deny\n  rules: [{name: a, action: allow, match: {namespace: shop}}]\n";
    let [unknown, other, shop] = [
        workload(None),
        workload(Some(in_pod("other", team("other")))),
        workload(Some(in_pod("shop", team("shop")))),
    ];
    let cases = [
        ("deny", &unknown, true),
        ("allow", &unknown, false),
        ("deny", &other, true),
        ("deny", &shop, false),
    ];
    for (read, one, is_refused) in cases {
        assert_eq!(refuses(read, SHOP, Some(one)), is_refused, "{read} {one:?}");
    }
}

#[test]
fn label_that_was_left_out_for_its_length_is_not_known() {
    let rest = "  rules: [{name: a, action: deny, match: {provider: groq, labels: {large: x}}}]\n";
    for (is_whole, is_refused) in [(true, false), (false, true)] {
        let labels = Labels { pairs: Vec::new(), is_whole };
        let workload = workload(Some(in_pod("shop", labels)));
        assert_eq!(refuses("deny", rest, Some(&workload)), is_refused);
    }
}

#[test]
fn recorded_call_tells_whether_its_name_was_hidden_or_leaves_it_unknown() {
    const CASES: [(&str, Fact<bool>); 3] = [
        ("\"tollgate.tls.name_hidden\":true", Fact::Known(true)),
        ("\"tollgate.tls.name_hidden\":false", Fact::Known(false)),
        ("\"tollgate.coverage\":\"complete\"", Fact::Unknown),
    ];
    for (text, expected) in CASES {
        let text = format!("{{\"event.name\":\"tollgate.call\",{text}}}");
        let given = Given::of_event(&serde_json::from_str(&text).unwrap());
        assert_eq!(given.facts().transport(Transport::Ech), expected, "{text}");
    }
}

#[test]
fn user_without_a_name_is_its_id_live_and_recorded() {
    for (name, expected) in [(None, "65532"), (Some("ana"), "ana")] {
        let uid = "65532".to_owned();
        let workload = Workload { uid, user: name.map(str::to_owned), ..workload(None) };
        let mut live = Facts::default();
        live.set_workload(&workload);
        let name = name.map(|name| format!(",\"user.name\":{name:?}")).unwrap_or_default();
        let text =
            format!("{{\"process.executable.path\":\"/bin/x\",\"user.id\":\"65532\"{name}}}");
        let recorded = Given::of_event(&serde_json::from_str(&text).unwrap());
        assert_eq!(live.text(Attribute::User), Fact::Known(expected));
        assert_eq!(recorded.facts().text(Attribute::User), Fact::Known(expected));
    }
}

#[test]
fn recorded_event_tells_what_its_runtime_told_and_leaves_the_rest_unknown() {
    let of = |rest: &str| {
        let text = format!(
            "{{\"process.executable.path\":\"/bin/x\",\"container.id\":\"aa\",\"tollgate.coverage\":\"complete\"{rest}}}"
        );
        Given::of_event(&serde_json::from_str(&text).unwrap())
    };
    let nothing = of("");
    assert!(nothing.facts().text(Attribute::Namespace).is_unknown());
    assert!(nothing.facts().label("app").is_unknown());
    let pod =
        of(",\"k8s.namespace.name\":\"shop\",\"k8s.pod.name\":\"p\",\"k8s.pod.label.app\":\"web\"");
    assert_eq!(pod.facts().text(Attribute::Namespace), Fact::Known("shop"));
    assert_eq!(pod.facts().label("app"), Fact::Known("web"));
    assert_eq!(pod.facts().label("other"), Fact::Absent);
    assert_eq!(pod.facts().text(Attribute::Image), Fact::Absent);
    let docker = of(",\"container.name\":\"web\",\"container.image.name\":\"nginx\"");
    assert_eq!(docker.facts().text(Attribute::Container), Fact::Known("web"));
    assert_eq!(docker.facts().text(Attribute::Pod), Fact::Absent);
    assert!(docker.facts().label("app").is_unknown());
}

#[test]
fn recorded_connection_tells_how_it_travelled_and_nothing_of_calls() {
    let of = |rest: &str| {
        let text = format!("{{\"event.name\":\"tollgate.{rest}}}");
        Given::of_event(&serde_json::from_str(&text).unwrap())
    };
    let blind = |rest: &str| of(&format!("coverage\",\"tollgate.coverage\":\"blind\"{rest}"));
    let quic = blind(",\"tollgate.coverage.reason\":\"quic\",\"gen_ai.provider.name\":\"groq\"");
    let facts = quic.facts();
    assert_eq!(facts.transport(Transport::Quic), Fact::Known(true));
    assert_eq!(facts.transport(Transport::Opaque), Fact::Known(true));
    assert_eq!(facts.transport(Transport::Unlisted), Fact::Known(false));
    assert!(
        facts.text(Attribute::Model).is_unknown() && facts.transport(Transport::Ech).is_unknown()
    );
    let hidden = blind(",\"tollgate.tls.encrypted_hello\":true");
    assert_eq!(hidden.facts().transport(Transport::Ech), Fact::Known(true));
    assert!(hidden.facts().text(Attribute::Provider).is_unknown());
    let named = |name: &str| {
        let server = format!(",\"server.address\":{name:?},\"network.peer.address\":\"192.0.2.1\"");
        blind(&server).facts().text(Attribute::Host).is_unknown()
    };
    assert!(named("192.0.2.1") && !named("api.groq.com"), "an address is no host");
    let led = |host: &str, name: &str| {
        let server = format!(",\"server.address\":{host:?},\"gen_ai.provider.name\":{name:?}");
        let given = blind(&server);
        let facts = given.facts();
        let unlisted = facts.transport(Transport::Unlisted);
        (facts.text(Attribute::Provider).is_unknown(), unlisted.is_unknown())
    };
    assert_eq!(led("huggingface.co", "huggingchat"), (true, true), "others share the host");
    assert_eq!(led("api.groq.com", "groq"), (false, false));
    // A refused one was never seen, and never hidden.
    let refused = of("decision\",\"tollgate.layer\":\"name\"");
    assert!(refused.facts().transport(Transport::Opaque).is_unknown());
    let idle = of("connection\",\"tollgate.coverage\":\"complete\"");
    assert_eq!(idle.facts().transport(Transport::Opaque), Fact::Known(false));
    assert!(idle.facts().text(Attribute::Credential).is_unknown());
    let answered = of("call\",\"tollgate.coverage\":\"complete\",\"gen_ai.response.model\":\"m\"");
    assert_eq!(answered.facts().text(Attribute::Model), Fact::Known("m"));
}

#[test]
fn what_is_certain_is_the_mildest_that_each_policy_can_come_to() {
    const RULES: &str = "  rules:\n    - {name: groq, action: deny, match: {provider: groq}}\n    - {name: big, action: kill, match: {model: big}}\n";
    const CASES: [(&str, &str, Effect, Option<&str>); 4] = [
        ("allow", RULES, Effect::Deny, Some("groq")),
        ("allow", "  rules: [{name: r, action: deny, match: {model: big}}]\n", Effect::Allow, None),
        ("deny", "  rules: [{name: r, action: deny, match: {model: big}}]\n", Effect::Deny, None),
        (
            "deny",
            "  rules: [{name: r, action: allow, match: {model: big}}]\n",
            Effect::Allow,
            Some("r"),
        ),
    ];
    for (default, rules, effect, rule) in CASES {
        let text = format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  default: {default}\n  unknown: deny\n{rules}"
        );
        let source = Source { file: "test.yaml".to_owned(), text };
        let engine = Engine::new(Set::read(&[source]).unwrap().0);
        let mut facts = Facts::default();
        facts.set(Attribute::Provider, Fact::Known("groq"));
        let decision = engine.certain(&facts, Timestamp::UNIX_EPOCH);
        let ruling = decision.binding.as_ref().unwrap();
        assert_eq!((ruling.effect, ruling.rule.as_deref()), (effect, rule), "{default} {rules}");
        assert!(!decision.is_presumed());
    }
}
