//! Policies that name models by patterns of any form, and models together with keys, act before the request leaves.

use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::{Api, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::layers::{OTHER_KEY, assert_told, both, specs};
use super::place::Place;
use super::policies::{Folder, NOTHING, options, policy};
use super::requests::{HOST, SERVICE_KEY, bodies, make_known, wait_followed};

/// Clients with the calls they make at once.
const CLIENTS: [(&str, u32); 4] =
    [("requests", 1), ("openai-async", 40), ("node-fetch", 40), ("curl-h1", 1)];

/// Has a client make two kinds of chat calls by turns: those of one kind never arrive, all of the other succeed.
pub(super) fn assert_refused(
    place: &Place,
    lab: &Lab,
    sensor: &Sensor,
    what: &str,
    pair: [Spec; 2],
) {
    let [mut denied, mut allowed] = pair;
    let (bad, good) = (format!("{what}-denied"), format!("{what}-allowed"));
    denied.scenario = format!("id={bad}");
    allowed.scenario = format!("id={good}");
    let [denied, allowed] = both(place, lab, denied, allowed);
    assert!(!denied.is_empty() && denied.iter().all(|call| call.error.is_some()), "{what}");
    let failed: Vec<_> = allowed.iter().filter(|call| !call.is_complete()).collect();
    assert!(failed.is_empty(), "{what}: {failed:?}\n{}", sensor.log());
    assert_eq!(bodies(lab, &bad), 0, "{what}: denied requests arrived\n{}", sensor.log());
    assert_eq!(lab.facts_of(&good, allowed.len()).unwrap().len(), allowed.len(), "{what}");
}

/// Chat calls of a client for two models.
fn models(name: &str, at_once: u32, [denied, allowed]: [&str; 2]) -> [Spec; 2] {
    let [mut one, mut other] = specs(name, at_once, [(HOST, Api::Chat, ""), (HOST, Api::Chat, "")]);
    denied.clone_into(&mut one.model);
    allowed.clone_into(&mut other.model);
    [one, other]
}

#[test]
fn request_for_a_model_that_a_pattern_of_any_form_forbids_never_arrives() {
    const FORMS: &str = "    - {name: forms, action: deny, match: {provider: openai, model: {in: [\"*-mini\", \"gpt-*-pro\", \"*codex*\"], not: [o3-mini]}}}\n";
    let lab = lab();
    let place = Place::whole("forms").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", FORMS)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    for (name, at_once) in CLIENTS {
        make_known(&place, &lab, name);
        let pair = models(name, at_once, ["gpt-4o-mini", "gpt-4o"]);
        assert_refused(&place, &lab, &sensor, &format!("suffix-{name}"), pair);
    }
    for pair in
        [["gpt-5-pro", "gpt-pro"], ["gpt-5.1-codex-max", "o3-mini"], ["o4-mini", "openai/o4-mini"]]
    {
        let what = format!("form-{}", pair[0]);
        assert_refused(&place, &lab, &sensor, &what, models("requests", 1, pair));
    }
    assert_told(&sensor, "content", "test/forms: ask us", "EACCES");
}

#[test]
fn request_for_a_model_with_a_key_that_policies_forbid_together_never_arrives() {
    let lab = lab();
    let place = Place::whole("together").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    place.run(&lab, &Spec::new("requests", Api::Chat).scenario("id=both-known")).unwrap();
    let fact = lab.facts_of("both-known", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap();
    let ours = call["tollgate.credential.fingerprint"].as_str().unwrap();
    let others = format!("credential: {{not: [{ours}]}}");
    let kind = "credentialKind: openai.service_account_key".to_owned();
    for (times, (what, key, matched)) in
        [("key", OTHER_KEY, others), ("kind", SERVICE_KEY, kind)].into_iter().enumerate()
    {
        let rules = format!(
            "    - {{name: {what}, action: deny, match: {{provider: openai, model: [\"*-mini\", gpt-5], {matched}}}}}\n"
        );
        folder.put(&policy(&place, "enforce", &rules)).unwrap();
        wait_followed(&sensor, times.saturating_add(2));
        for (name, at_once) in CLIENTS {
            make_known(&place, &lab, name);
            // With our key the same model is allowed, and with the other key another model.
            let mut pair = models(name, at_once, ["gpt-4o-mini", "gpt-4o-mini"]);
            key.clone_into(&mut pair[0].api_key);
            assert_refused(&place, &lab, &sensor, &format!("{what}-model-{name}"), pair);
            let pair = models(name, at_once, ["gpt-5", "gpt-4o"])
                .map(|spec| Spec { api_key: key.to_owned(), ..spec });
            assert_refused(&place, &lab, &sensor, &format!("{what}-other-{name}"), pair);
        }
        assert_told(&sensor, "content", &format!("test/{what}: ask us"), "EACCES");
    }
}
