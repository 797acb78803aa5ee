//! Requests that are signed: the id of the key that signs decides, and not the signature, which each has anew.

use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::layers::assert_told;
use super::paths::{BEDROCK, asking};
use super::patterns::assert_refused;
use super::place::Place;
use super::policies::{Folder, NOTHING, options, policy};
use super::requests::{make_known, wait_followed};

const CLIENTS: [(&str, u32); 3] = [("requests", 1), ("node-fetch", 40), ("curl-h1", 1)];
const PATH: &str = "/model/anthropic.claude-haiku-4-5-v1:0/invoke";
const OURS: &str = "AKIALABFAKE0000OURS0";
const OTHER: &str = "AKIALABFAKE000OTHER0";

/// Calls to Bedrock with a key and a signature.
fn signed((name, at_once): (&str, u32), id: &str, signature: &str) -> Spec {
    let mut spec = asking(name, at_once, BEDROCK, PATH);
    spec.api_key = format!(
        "AWS4-HMAC-SHA256 Credential={id}/20261128/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    spec
}

/// Fingerprint of our key, as the sensor tells it of a call.
fn fingerprint(place: &Place, lab: &Lab, sensor: &Sensor) -> String {
    let spec = signed(("requests", 1), OURS, "00ff").calls(1, 1).scenario("id=signed-known");
    let seen = place.run(lab, &spec).unwrap();
    assert!(seen.calls.iter().all(SeenCall::is_complete), "{seen:?}");
    let fact = lab.facts_of("signed-known", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap();
    call["tollgate.credential.fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn request_signed_with_a_key_that_is_not_listed_never_arrives_and_every_one_with_ours_does() {
    let lab = lab();
    let place = Place::whole("signed").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    place.run(&lab, &Spec::new("requests", Api::Chat).scenario("id=known")).unwrap();
    let ours = fingerprint(&place, &lab, &sensor);
    let rules = format!(
        "    - {{name: ours, action: deny, match: {{provider: aws.bedrock, credential: {{not: [{ours}]}}}}}}\n"
    );
    folder.put(&policy(&place, "enforce", &rules)).unwrap();
    wait_followed(&sensor, 2);
    for client in CLIENTS {
        make_known(&place, &lab, client.0);
        let pair = [signed(client, OTHER, "11ee"), signed(client, OURS, "22dd")];
        assert_refused(&place, &lab, &sensor, &format!("signed-{}", client.0), pair);
    }
    assert_told(&sensor, "content", "test/ours: ask us", "EACCES");
}
