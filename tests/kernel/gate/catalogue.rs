//! Providers that documents and rows add while the agent runs: their calls are seen and refused from then on.

use std::fs;

use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::{Api, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::place::Place;
use super::policies::{
    Folder, NOTHING, options, policy, status, wait_call, wait_event, wait_state,
};

const INTERNAL: &str = "llm.internal.example";
const WWW: &str = "www.example.com";
const GATEWAY: &str = "---\napiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: corp}\nspec: {hosts: [llm.internal.example]}\n";
const NO_CORP: &str = "    - {name: no-corp, action: deny, match: {provider: corp}}\n";

fn row(id: &str, host: &str) -> String {
    format!(
        "[[provider]]\nid = {id:?}\ncategory = \"gateway\"\nhosts = [{host:?}]\nsource = \"test\"\nchecked = 2026-11-28\n"
    )
}

#[test]
fn provider_that_a_document_or_a_row_adds_is_known_from_then_on() {
    let lab = lab();
    let place = Place::whole("catalogue").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NO_CORP)).unwrap();
    let other = row("other", "llm.other.example");
    let sensor = Sensor::start_with_providers(&options(&place, folder.path()), &other).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    wait_call(&place, &lab, INTERNAL, true);

    folder.put(&(policy(&place, "enforce", NO_CORP) + GATEWAY)).unwrap();
    let refused = || {
        let spec = Spec::new("curl-h1", Api::Chat).host(INTERNAL).scenario("id=tried");
        let seen = place.run(&lab, &spec).unwrap().calls.remove(0);
        (!seen.is_complete()).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the refusal", refused)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    let refused = [("event.name", "tollgate.decision"), ("gen_ai.provider.name", "corp")];
    wait_event(&sensor, &refused.map(|(name, value)| (name, value.into())));

    folder.put(&(policy(&place, "enforce", NOTHING) + GATEWAY)).unwrap();
    wait_call(&place, &lab, INTERNAL, true);
    let corp = call_to(&place, &lab, &sensor, INTERNAL);
    assert_eq!(corp["gen_ai.provider.name"], "corp", "{corp}");

    fs::write(sensor.providers(), row("web", WWW)).unwrap();
    let known = || sensor.log().matches("the catalogue has changed").nth(1).map(|_| ());
    wait_until(CLIENT_DEADLINE, "the rows to be read", known).unwrap();
    let web = call_to(&place, &lab, &sensor, WWW);
    assert_eq!(web["gen_ai.provider.name"], "web", "{web}");

    fs::write(sensor.providers(), "[[provider]]\nid = \"web\"\nhosst = []\n").unwrap();
    wait_state(&sensor, "providers_refused", 1);
    let told = || {
        let text = status(&sensor)["policies"].to_string();
        (text.contains("rows of providers are refused") && text.contains("hosst")).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the status to say what is wrong", told).unwrap();
    for (host, provider) in [(INTERNAL, "corp"), (WWW, "web")] {
        let call = call_to(&place, &lab, &sensor, host);
        assert_eq!(call["gen_ai.provider.name"], provider, "{call}");
    }
    sensor.assert_private();
}

/// The event of one call to a host.
fn call_to(place: &Place, lab: &tollgate_tests::lab::Lab, sensor: &Sensor, host: &str) -> Value {
    let seen = || lab.facts().into_iter().filter(|fact| fact.sni == host).collect::<Vec<_>>();
    let before = seen().len();
    let spec = Spec::new("curl-h1", Api::Chat).host(host).scenario("id=added");
    assert!(place.run(lab, &spec).unwrap().calls.remove(0).is_complete(), "{}", sensor.log());
    let facts = seen();
    assert_eq!(facts.len().checked_sub(before), Some(1));
    sensor
        .call_of(facts.last().unwrap())
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()))
}
