//! Policies that depend on what is asked for act before the request leaves, where the kernel can read it; else at once after.

use std::fs;

use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::layers::{OTHER_KEY, assert_both, assert_told, both, specs};
use super::place::Place;
use super::policies::{Folder, NO_MINI, NOTHING, options, policy, wait_event, wait_state};

/// Clients with the calls they make at once.
pub(super) const CLIENTS: [(&str, u32); 5] = [
    ("requests", 1),
    ("openai-async", 40),
    ("node-openai", 40),
    ("node-fetch", 40),
    ("curl-h1", 1),
];
pub(super) const HOST: &str = "api.openai.com";
/// A begin of the name of the model that chat calls ask for, and that no other call asks for.
const NO_BEGIN: &str =
    "    - {name: no-begin, action: deny, match: {provider: openai, model: \"gpt-4o-m*\"}}\n";

/// One call that no policy of this file refuses, so that the program is known.
pub(super) fn make_known(place: &Place, lab: &Lab, name: &str) {
    let seen = place.run(lab, &Spec::new(name, Api::Embeddings).scenario("id=known")).unwrap();
    assert!(seen.calls.iter().all(SeenCall::is_complete), "{name}: {seen:?}");
}

/// Requests that arrived with something in their body: the model stands there, and a head may leave in a write of its own.
pub(super) fn bodies(lab: &Lab, id: &str) -> usize {
    lab.facts().iter().filter(|fact| fact.scenario == id && fact.request_bytes > 0).count()
}

/// Waits until the policies of a change are followed.
pub(super) fn wait_followed(sensor: &Sensor, times: usize) {
    wait_state(sensor, "policies_accepted", times);
}

#[test]
fn request_for_a_model_that_policies_forbid_never_arrives_and_others_on_the_same_connections_do() {
    let lab = lab();
    let place = Place::whole("models").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_BEGIN)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    for (name, at_once) in CLIENTS {
        make_known(&place, &lab, name);
        let (bad, good) = (format!("model-denied-{name}"), format!("model-allowed-{name}"));
        let [denied, allowed] =
            specs(name, at_once, [(HOST, Api::Chat, &bad), (HOST, Api::Embeddings, &good)]);
        let [denied, allowed] = both(&place, &lab, denied, allowed);
        assert!(denied.iter().all(|call| call.error.is_some()), "{name}: {denied:?}");
        let failed: Vec<_> = allowed.iter().filter(|call| !call.is_complete()).collect();
        assert!(failed.is_empty(), "{name}: {failed:?}\n{}", sensor.log());
        assert_eq!(bodies(&lab, &bad), 0, "{name}: denied requests arrived\n{}", sensor.log());
    }
    assert_told(&sensor, "content", "test/no-begin: ask us", "EACCES");
}

#[test]
fn request_whose_model_stands_behind_a_long_prompt_never_arrives() {
    let lab = lab();
    let place = Place::whole("long").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_BEGIN)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    // The SDK writes the messages first; the second length is more than is looked at but for its end.
    for (name, bytes) in
        [("openai-sync", 12_000), ("openai-async", 45_000), ("openai-sync", 300_000)]
    {
        make_known(&place, &lab, name);
        let id = format!("long-{name}-{bytes}");
        let mut spec = Spec::new(name, Api::Chat).calls(4, 2).scenario(&format!("id={id}"));
        spec.prompt = spec.prompt.repeat(bytes / spec.prompt.len());
        let denied = place.run(&lab, &spec).unwrap().calls;
        assert!(denied.iter().all(|call| call.error.is_some()), "{id}\n{}", sensor.log());
        assert_eq!(bodies(&lab, &id), 0, "{id}: denied requests arrived\n{}", sensor.log());
    }
    assert_told(&sensor, "content", "test/no-begin: ask us", "EACCES");
}

#[test]
fn request_for_a_model_that_its_path_names_never_arrives() {
    const NO_DEPLOYMENT: &str = "    - {name: no-deployment, action: deny, match: {provider: azure.ai.openai, model: gpt-4o-mini}}\n";
    let lab = lab();
    let place = Place::whole("named").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_DEPLOYMENT)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    for name in ["openai-sync", "requests", "node-openai", "curl-h1"] {
        make_known(&place, &lab, name);
        let [bad, good] = ["denied", "allowed"].map(|what| format!("named-{what}-{name}"));
        let spec = |id: &str| {
            let host = "myco.openai.azure.com";
            Spec::new(name, Api::Chat).host(host).calls(4, 2).scenario(&format!("id={id}"))
        };
        let mut allowed = spec(&good);
        allowed.model = "prod-chat".to_owned();
        let [denied, allowed] = both(&place, &lab, spec(&bad), allowed);
        assert!(denied.iter().all(|call| call.error.is_some()), "{name}: {denied:?}");
        let failed: Vec<_> = allowed.iter().filter(|call| !call.is_complete()).collect();
        assert!(failed.is_empty(), "{name}: {failed:?}\n{}", sensor.log());
        assert_eq!(bodies(&lab, &bad), 0, "{name}: denied requests arrived\n{}", sensor.log());
    }
    assert_told(&sensor, "content", "test/no-deployment: ask us", "EACCES");
}

#[test]
fn request_for_an_operation_that_policies_forbid_never_arrives() {
    const NO_EMBEDDINGS: &str =
        "    - {name: no-embeddings, action: deny, match: {operation: embeddings}}\n";
    let lab = lab();
    let place = Place::whole("operations").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_EMBEDDINGS)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    for (name, at_once) in CLIENTS {
        let seen = place.run(&lab, &Spec::new(name, Api::Chat).scenario("id=known")).unwrap();
        assert!(seen.calls.iter().all(SeenCall::is_complete), "{name}: {seen:?}");
        let (bad, good) = (format!("operation-denied-{name}"), format!("operation-allowed-{name}"));
        let [denied, allowed] =
            specs(name, at_once, [(HOST, Api::Embeddings, &bad), (HOST, Api::Chat, &good)]);
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_told(&sensor, "content", "test/no-embeddings: ask us", "EACCES");
}

#[test]
fn request_with_a_key_that_is_not_listed_never_arrives() {
    let lab = lab();
    let place = Place::whole("keys").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    place.run(&lab, &Spec::new("requests", Api::Chat).scenario("id=key-known")).unwrap();
    let fact = lab.facts_of("key-known", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap();
    let fingerprint = call["tollgate.credential.fingerprint"].as_str().unwrap();
    let ours = format!(
        "    - {{name: ours, action: deny, match: {{provider: openai, credential: {{not: [{fingerprint}]}}}}}}\n"
    );
    folder.put(&policy(&place, "enforce", &ours)).unwrap();
    wait_followed(&sensor, 2);
    for (name, at_once) in [("requests", 1), ("aiohttp", 40), ("node-fetch", 40), ("curl-h1", 1)] {
        make_known(&place, &lab, name);
        let (bad, good) = (format!("listed-denied-{name}"), format!("listed-allowed-{name}"));
        let [mut denied, allowed] =
            specs(name, at_once, [(HOST, Api::Chat, &bad), (HOST, Api::Chat, &good)]);
        OTHER_KEY.clone_into(&mut denied.api_key);
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_told(&sensor, "content", "test/ours: ask us", "EACCES");
}

/// A key of another kind than that of the allowed calls.
pub(super) const SERVICE_KEY: &str = "sk-svcacct-LABFAKE2222LABFAKE2222LABFAKE2222LABFAKE2222oa03";

#[test]
fn request_with_a_kind_of_key_that_policies_forbid_never_arrives() {
    const NO_SERVICE: &str = "    - {name: no-service, action: deny, match: {credentialKind: openai.service_account_key}}\n";
    const ONLY_PROJECT: &str = "    - {name: ours, action: deny, match: {provider: openai, credentialKind: {not: [openai.project_key]}}}\n";
    let lab = lab();
    let place = Place::whole("kinds").unwrap();
    for (rule, rules) in [("no-service", NO_SERVICE), ("ours", ONLY_PROJECT)] {
        let folder = Folder::new(&policy(&place, "enforce", rules)).unwrap();
        let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
        wait_followed(&sensor, 1);
        for (name, at_once) in [("requests", 1), ("aiohttp", 40), ("node-fetch", 40)] {
            make_known(&place, &lab, name);
            let [bad, good] = ["denied", "allowed"].map(|what| format!("{rule}-{what}-{name}"));
            let [mut denied, allowed] =
                specs(name, at_once, [(HOST, Api::Chat, &bad), (HOST, Api::Chat, &good)]);
            SERVICE_KEY.clone_into(&mut denied.api_key);
            let seen = both(&place, &lab, denied, allowed);
            assert_both(&lab, &sensor, name, [&bad, &good], &seen);
        }
        assert_told(&sensor, "content", &format!("test/{rule}: ask us"), "EACCES");
    }
}

#[test]
fn policy_of_later_judges_the_next_request_of_a_process_that_runs_already() {
    let lab = lab();
    let place = Place::whole("later").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    make_known(&place, &lab, "requests");
    let spec = Spec::new("requests", Api::Chat).calls(2, 1).two_phases().scenario("id=later");
    let mut client = place.start(&lab, &spec).unwrap();
    while client.process.line(CLIENT_DEADLINE).unwrap().as_deref() != Some("ready") {}
    let before = bodies(&lab, "later");
    assert!(before > 0);
    folder.put(&policy(&place, "enforce", NO_MINI)).unwrap();
    wait_followed(&sensor, 2);
    client.process.tell("go").unwrap();
    let seen = client.finish().unwrap();
    assert!(seen.calls.iter().any(|call| call.error.is_some()), "{seen:?}\n{}", sensor.log());
    assert_eq!(bodies(&lab, "later"), before, "the request of later arrived\n{}", sensor.log());
    assert_told(&sensor, "content", "test/no-mini: ask us", "EACCES");
}

#[test]
fn request_that_the_kernel_cannot_read_is_told_and_its_connection_is_cut_before_its_end() {
    let lab = lab();
    let place = Place::whole("late").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_MINI)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    make_known(&place, &lab, "httpx-h2");
    // The answer takes its time: it would come, were the connection not cut.
    let spec = Spec::new("httpx-h2", Api::Chat).scenario("id=late,first_ms=3000");
    let seen = place.run(&lab, &spec).unwrap();
    assert!(seen.calls[0].error.is_some(), "{seen:?}\n{}", sensor.log());
    let judged = |layer: &str| -> [(&str, Value); 4] {
        [
            ("event.name", "tollgate.decision".into()),
            ("tollgate.rule", "no-mini".into()),
            ("tollgate.layer", layer.into()),
            ("tollgate.enforced", true.into()),
        ]
    };
    let event = wait_event(&sensor, &judged("request"));
    assert_eq!(event["error.type"], "ECONNABORTED");
    assert!(
        event["tollgate.connection.bytes_sent"].as_u64().is_some_and(|bytes| bytes > 0),
        "{event}"
    );
    let call = wait_event(
        &sensor,
        &[("event.name", "tollgate.call".into()), ("tollgate.rule", "no-mini".into())],
    );
    assert_eq!(call["tollgate.decision"], "deny");
    let told = |event: &Value| {
        event["event.name"] == "tollgate.decision" && event["tollgate.layer"] == "call"
    };
    assert!(!sensor.events().iter().any(told), "the request is told of twice");
}

#[test]
fn process_is_killed_where_a_policy_says_so_and_nobody_else() {
    let lab = lab();
    let place = Place::whole("kill").unwrap();
    let rule = NO_MINI.replace("deny", "kill");
    let folder = Folder::new(&policy(&place, "enforce", &rule)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    make_known(&place, &lab, "requests");
    // Its second phase never comes: without the kill it would wait for it.
    let bystander =
        Spec::new("requests", Api::Embeddings).calls(2, 1).two_phases().scenario("id=bystander");
    let mut bystander = place.start(&lab, &bystander).unwrap();
    while bystander.process.line(CLIENT_DEADLINE).unwrap().as_deref() != Some("ready") {}
    let spec = Spec::new("requests", Api::Chat).calls(2, 1).two_phases().scenario("id=killed");
    let client = place.start(&lab, &spec).unwrap();
    let pid = client.process.pid();
    let told = wait_event(
        &sensor,
        &[("event.name", "tollgate.decision".into()), ("tollgate.decision", "kill".into())],
    );
    assert_eq!(told["process.pid"], pid, "{told}");
    let ended = || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the end of the process", ended)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    bystander.process.tell("go").unwrap();
    assert!(bystander.finish().unwrap().calls.iter().all(SeenCall::is_complete));
    assert_eq!(bodies(&lab, "killed"), 0);
}
