//! Each layer refuses what it is told to, for each kind of client, and harms nothing beside it.

use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::spec::OPENAI_KEY;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};
use tollgate_tests::lab::net::address_of;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::place::{Place, calls};

/// Longest a refused call may take: a refusal is an answer, not a silence.
const REFUSAL_MAX_NS: u64 = 10_000_000_000;
/// Clients with the calls they make at once: blocking, asyncio, Node.
const CLIENTS: [(&str, u32); 6] = [
    ("openai-sync", 1),
    ("requests", 1),
    ("openai-async", 40),
    ("aiohttp", 40),
    ("node-openai", 40),
    ("node-fetch", 40),
];
const CURLS: [&str; 2] = ["curl-h1", "curl-h2"];
/// A key that is not the one of the other calls; as fake as that one.
pub(super) const OTHER_KEY: &str = "sk-proj-LABFAKE1111LABFAKE1111LABFAKE1111LABFAKE1111oa02";

/// What a client saw: the denied calls, and the allowed ones beside them.
pub(super) type Both = [Vec<SeenCall>; 2];

pub(super) fn both(place: &Place, lab: &Lab, denied: Spec, allowed: Spec) -> Both {
    let name = denied.client.clone();
    if name.starts_with("curl") {
        let seen = place.curl(lab, [&denied, &allowed]);
        return seen.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    let seen = place.run(lab, &denied.beside(allowed));
    let seen = seen.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let (allowed, denied) = seen.calls.into_iter().partition(|call| call.beside);
    [denied, allowed]
}

/// Compares what a client saw with what the server knows.
pub(super) fn assert_both(
    lab: &Lab,
    sensor: &Sensor,
    what: &str,
    ids: [&str; 2],
    [denied, allowed]: &Both,
) {
    let count = usize::try_from(calls()).unwrap();
    assert_eq!((denied.len(), allowed.len()), (count, count), "{what}");
    for call in denied {
        assert!(call.error.is_some(), "{what}: a denied call succeeded: {call:?}");
        let took = call.t_end_ns.saturating_sub(call.t_start_ns);
        assert!(took < REFUSAL_MAX_NS, "{what}: a refusal took {took} ns: {call:?}");
    }
    let failed: Vec<_> = allowed.iter().filter(|call| !call.is_complete()).collect();
    assert!(
        failed.is_empty(),
        "{what}: {} of {count} allowed calls failed: {:?}\n{}",
        failed.len(),
        failed.first(),
        sensor.log()
    );
    assert_eq!(lab.facts_of(ids[1], count).unwrap().len(), count, "{what}");
    let arrived = lab.facts().into_iter().filter(|fact| fact.scenario == ids[0]).count();
    assert_eq!(arrived, 0, "{what}: denied requests arrived\n{}", sensor.log());
}

pub(super) fn assert_told(sensor: &Sensor, layer: &str, reason: &str, error: &str) {
    let told = || {
        let events = sensor.events();
        let told = events.iter().any(|event| {
            event["event.name"] == "tollgate.decision"
                && event["tollgate.layer"] == layer
                && event["tollgate.reason"] == reason
                && event["error.type"] == error
        });
        told.then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the decision's event", told).unwrap();
}

fn assert_told_unseen(sensor: &Sensor, reason: &str) {
    let told = || {
        let events = sensor.events();
        let is_told = |event: &serde_json::Value| {
            event["tollgate.decision"] == "unseen" && event["tollgate.reason"] == reason
        };
        events.iter().any(is_told).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the event of what passed unseen", told).unwrap();
}

/// One call of each client, so that its program is known: the first call of an unknown one may pass before it is seen.
pub(super) fn make_known(place: &Place, lab: &Lab, name: &str) {
    let seen = place.run(lab, &Spec::new(name, Api::Chat).scenario("id=known")).unwrap();
    assert!(seen.calls.iter().all(SeenCall::is_complete), "{name}: {seen:?}");
}

pub(super) fn specs(
    name: &str,
    at_once: u32,
    [denied, allowed]: [(&str, Api, &str); 2],
) -> [Spec; 2] {
    [denied, allowed].map(|(host, api, id)| {
        Spec::new(name, api).host(host).calls(calls(), at_once).scenario(&format!("id={id}"))
    })
}

/// Of a thousand calls or more, those of a client that tries each again, one after the other, would take half an hour.
fn clients() -> impl Iterator<Item = (&'static str, u32)> {
    CLIENTS.into_iter().filter(|(name, _)| calls() < 1_000 || *name != "openai-sync")
}

fn each_client(work: impl Fn(&str, u32)) {
    for (name, at_once) in clients() {
        work(name, at_once);
    }
    for name in CURLS {
        work(name, 1);
    }
}

#[test]
fn request_denied_by_its_path_never_arrives_and_allowed_ones_on_the_same_connections_do() {
    let lab = lab();
    let place = Place::new("path").unwrap();
    let orders = "deny_paths = [\"openai POST /v1/embeddings\"]\nreason = \"no embeddings here\"\n";
    let sensor = place.sensor(orders).unwrap();
    for (name, at_once) in clients().chain([("curl-h1", 1)]) {
        make_known(&place, &lab, name);
        let (bad, good) = (format!("denied-{name}"), format!("allowed-{name}"));
        let host = "api.openai.com";
        let [denied, allowed] =
            specs(name, at_once, [(host, Api::Embeddings, &bad), (host, Api::Chat, &good)]);
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
    assert_told(&sensor, "content", "no embeddings here", "EACCES");
}

#[test]
fn request_denied_by_its_key_never_arrives_and_those_with_another_key_do() {
    let lab = lab();
    let place = Place::new("key").unwrap();
    let mut sensor = place.sensor("").unwrap();
    let mut known = Spec::new("requests", Api::Chat).scenario("id=fingerprint");
    OTHER_KEY.clone_into(&mut known.api_key);
    place.run(&lab, &known).unwrap();
    let fact = lab.facts_of("fingerprint", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap();
    let fingerprint = call["tollgate.credential.fingerprint"].as_str().unwrap().to_owned();
    let orders = format!("deny_keys = [{fingerprint:?}]\nreason = \"that key leaked\"\n");
    sensor.restart_with(&place.options(&orders).unwrap()).unwrap();
    for (name, at_once) in [("requests", 1), ("aiohttp", 40), ("node-fetch", 40), ("curl-h1", 1)] {
        make_known(&place, &lab, name);
        let (bad, good) = (format!("key-denied-{name}"), format!("key-allowed-{name}"));
        let host = "api.openai.com";
        let [mut denied, allowed] =
            specs(name, at_once, [(host, Api::Chat, &bad), (host, Api::Chat, &good)]);
        OTHER_KEY.clone_into(&mut denied.api_key);
        assert_eq!(allowed.api_key, OPENAI_KEY);
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
    assert_told(&sensor, "content", "that key leaked", "EACCES");
}

#[test]
fn request_with_a_denied_host_behind_an_allowed_name_never_arrives() {
    let lab = lab();
    let place = Place::new("host").unwrap();
    let sensor = place.sensor("deny = [\"groq\"]\ndeny_paths = [\"openai * /none\"]\n").unwrap();
    for (name, at_once) in [("requests", 1), ("aiohttp", 40), ("curl-h1", 1)] {
        make_known(&place, &lab, name);
        let (bad, good) = (format!("host-denied-{name}"), format!("host-allowed-{name}"));
        let host = "api.openai.com";
        let [mut denied, allowed] =
            specs(name, at_once, [(host, Api::Chat, &bad), (host, Api::Chat, &good)]);
        denied.headers.insert("Host".to_owned(), "api.groq.com".to_owned());
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
}

#[test]
fn connection_denied_by_its_name_never_says_a_byte_and_others_of_the_process_are_not_harmed() {
    let lab = lab();
    let place = Place::new("name").unwrap();
    let sensor = place.sensor("deny = [\"groq\"]\nreason = \"no groq here\"\n").unwrap();
    each_client(|name, at_once| {
        let (bad, good) = (format!("name-denied-{name}"), format!("name-allowed-{name}"));
        let [denied, allowed] = specs(
            name,
            at_once,
            [("api.groq.com", Api::Chat, &bad), ("api.openai.com", Api::Chat, &good)],
        );
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
        assert!(lab.facts().iter().all(|fact| fact.sni != "api.groq.com"), "{name}");
    });
    assert_told(&sensor, "name", "no groq here", "EACCES");
}

#[test]
fn connection_to_a_denied_address_is_refused_at_once_and_others_are_made() {
    let lab = lab();
    let place = Place::new("address").unwrap();
    let address = address_of("api.groq.com").unwrap();
    let orders = format!(
        "deny = [\"groq\"]\n[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{address}\"]\n"
    );
    let sensor = place.sensor(&orders).unwrap();
    each_client(|name, at_once| {
        let (bad, good) = (format!("address-denied-{name}"), format!("address-allowed-{name}"));
        let [denied, allowed] = specs(
            name,
            at_once,
            [("api.groq.com", Api::Chat, &bad), ("api.openai.com", Api::Chat, &good)],
        );
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    });
    assert_told(&sensor, "address", "test", "EPERM");
}

#[test]
fn connection_that_cannot_be_judged_is_refused_where_the_orders_say_so_and_told_where_not() {
    let lab = lab();
    for refuses in [true, false] {
        let place = Place::new(&format!("opaque-{refuses}")).unwrap();
        let orders = format!("deny_paths = [\"openai * /none\"]\nrefuse_opaque = {refuses}\n");
        let sensor = place.sensor(&orders).unwrap();
        make_known(&place, &lab, "curl-h1");
        let id = format!("opaque-{refuses}");
        let spec = Spec::new("curl-h2", Api::Chat).calls(3, 1).scenario(&format!("id={id}"));
        let seen = place.run(&lab, &spec).unwrap();
        let arrived = lab.facts().into_iter().filter(|fact| fact.scenario == id).count();
        if refuses {
            assert!(seen.calls.iter().all(|call| call.error.is_some()), "{seen:?}");
            assert_eq!(arrived, 0);
            assert_told(&sensor, "opaque", "http_2_not_judged", "EACCES");
        } else {
            assert!(seen.calls.iter().all(SeenCall::is_complete), "{seen:?}");
            assert_told_unseen(&sensor, "http_2_not_judged");
        }
    }
}
