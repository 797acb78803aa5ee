//! Requests of HTTP/1.1 that are spelt in other ways than those who forbid them think of: a model is denied, or a key.

use serde_json::{Value, json};
use tollgate_tests::lab::clients::spec::OPENAI_KEY;
use tollgate_tests::lab::net::address_of;

use super::rows::{Row, detected, refused};
use super::stage::{Stage, compare};

pub(super) const ROWS: [Row; 19] = [
    refused("blanks behind the host", "they are no part of it (RFC 9110, 5.5)"),
    refused("dot behind the host", "that of the root is no part of a name that is looked for"),
    refused("zeros before the port", "a host ends at its colon"),
    refused("empty line before a request", "servers overlook it, so the gate does too"),
    refused(
        "model behind another's",
        "only that of the object itself counts, whatever is nested in it",
    ),
    refused("model named twice", "the last counts, as for those who read JSON"),
    refused("model behind many blanks", "the search goes on where it was, look by look"),
    refused("blanks behind the key", "of a key that is denied: they are no part of it"),
    detected(
        "model spelt in escapes",
        "it is not compared in the kernel; told as `head_unreadable`",
    ),
    detected("field's name spelt in escapes", "as above"),
    detected("compressed body", "as above"),
    detected(
        "target with a host of its own",
        "it overrules the field (RFC 9112, 3.2.2), which names another; told as above",
    ),
    refused("model spelt in escapes, no opaque", "the same with `refuse_opaque = true`"),
    refused(
        "second request in one write",
        "pipelining: its model is found wherever it stands; its host, path and key are not looked at before the agent has read them",
    ),
    refused("another object behind the body", "only the first object of a body is the request"),
    refused("model in a form", "as sound is sent (RFC 7578): the part of that name is read"),
    refused("empty line before a denied path", "path and method are read behind it"),
    refused("address as host", "where no name is, the destination of the connection stands"),
    detected(
        "frames of a WebSocket",
        "they are no HTTP; told as `not_http`, refused with `refuse_opaque`",
    ),
];

const HOST: &str = "api.openai.com";
const DENIED: &str = "gpt-4o-mini";

/// A request with a body, as most clients write it.
fn request(id: &str, target: &str, host: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {OPENAI_KEY}\r\nContent-Type: application/json\r\n\
         X-Lab-Scenario: {id}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chat(id: &str, host: &str, body: &str) -> String {
    request(id, "/v1/chat/completions", host, body)
}

/// A chat request's body, its model spelt as given.
fn body(model: &str) -> String {
    format!("{{{model},\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}")
}

/// A model that is spelt in escapes in the middle of a long body, looked at in pieces.
fn spelt_within(id: &str) -> Vec<String> {
    let (before, behind) = ("x".repeat(2_500), "x".repeat(4_000));
    let fields = format!("\"a\":\"{before}\",\"model\":\"gpt\\u002d4o-mini\",\"b\":\"{behind}\"");
    vec![chat(id, HOST, &body(&fields))]
}

/// A frame with a text (RFC 6455, 5.2), masked as clients have to.
fn frame(text: &str) -> String {
    const MASK: [u8; 4] = [7, 1, 9, 3];
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126, "the length has a byte of its own");
    let masked = text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | length].into_iter().chain(MASK).chain(masked).map(char::from).collect()
}

/// A request for a WebSocket, and what is asked for over it.
fn over_websocket(id: &str) -> Vec<String> {
    let head = format!(
        "GET /v1/responses HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {OPENAI_KEY}\r\nX-Lab-Scenario: {id}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    let asked = format!("{{\"type\":\"response.create\",\"model\":\"{DENIED}\",\"input\":\"hi\"}}");
    vec![head, frame(&asked)]
}

/// What is said on the connection in each way.
fn writes(way: &str, id: &str) -> Vec<String> {
    let plain = body(&format!("\"model\":\"{DENIED}\""));
    let of = |model: &str| vec![chat(id, HOST, &body(model))];
    let first =
        "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nX-Lab-Scenario: id=first\r\n\r\n";
    match way {
        "blanks behind the host" => vec![chat(id, &format!("{HOST} \t"), &plain)],
        "dot behind the host" => vec![chat(id, &format!("{HOST}."), &plain)],
        "zeros before the port" => vec![chat(id, &format!("{HOST}:0000443"), &plain)],
        "empty line before a request" => {
            vec![first.to_owned(), format!("\r\n{}", chat(id, HOST, &plain))]
        }
        "second request in one write" => vec![format!("{first}{}", chat(id, HOST, &plain))],
        "model behind another's" => {
            of(&format!("\"metadata\":{{\"model\":\"gpt-4o\"}},\"model\":\"{DENIED}\""))
        }
        "model named twice" => of(&format!("\"model\":\"gpt-4o\",\"model\":\"{DENIED}\"")),
        "model behind many blanks" => {
            let filler = "x".repeat(1_300);
            of(&format!("\"user\":\"{filler}\",\"model\":{}\"{DENIED}\"", " ".repeat(700)))
        }
        "model spelt in escapes, no opaque" => spelt_within(id),
        "empty line before a denied path" => {
            let text = request(id, "/v1/embeddings", HOST, &body("\"model\":\"gpt-4o\""));
            vec![first.to_owned(), format!("\r\n{text}")]
        }
        "frames of a WebSocket" => over_websocket(id),
        "another object behind the body" => {
            vec![chat(id, HOST, &format!("{plain}{}", body("\"model\":\"gpt-4o\"")))]
        }
        "model in a form" => {
            let part = "--b\r\nContent-Disposition: form-data; name=";
            let form =
                format!("{part}\"n\"\r\n\r\n1\r\n{part}\"model\"\r\n\r\n{DENIED}\r\n--b--\r\n");
            vec![request(id, "/v1/audio/transcriptions", HOST, &form)]
        }
        "model spelt in escapes" => of("\"model\":\"gpt\\u002d4o-mini\""),
        "field's name spelt in escapes" => of(&format!("\"\\u006dodel\":\"{DENIED}\"")),
        "compressed body" => {
            let text = chat(id, HOST, "\u{1f}\u{8b}\u{8}");
            vec![text.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n")]
        }
        "target with a host of its own" => {
            let target = format!("https://{HOST}/v1/chat/completions");
            vec![request(id, &target, "files.example", &plain)]
        }
        "blanks behind the key" => {
            let key = format!("{OPENAI_KEY} \t ");
            vec![chat(id, HOST, &plain).replace(OPENAI_KEY, &key)]
        }
        other => panic!("no such way: {other}"),
    }
}

/// The specification of a row, and of an ordinary request for another model.
fn spec(stage: &Stage, row: &Row, way: &str) -> Value {
    let mut spec = stage.spec(row.way);
    let scenario = spec["scenario"].as_str().unwrap().replace('\'', "");
    spec["scenario"] = json!(scenario);
    spec["way"] = json!("spelt");
    spec["name"] = json!(HOST);
    spec["writes"] = json!(writes(way, &scenario));
    spec
}

/// A request that nobody forbids, so that the program is known.
fn make_known(stage: &Stage) {
    let mut spec = stage.spec("known");
    spec["way"] = json!("spelt");
    spec["name"] = json!(HOST);
    spec["writes"] = json!([chat("id=known", HOST, &body("\"model\":\"gpt-4o\""))]);
    let (outcome, _) = stage.attempt(0, &spec).unwrap();
    assert_eq!(outcome["status"], 200, "{outcome}");
}

#[test]
fn spelling_of_a_request_hides_no_model() {
    let stage = Stage::new("spelt", &format!("deny_models = [{DENIED:?}]\n")).unwrap();
    make_known(&stage);
    let refused = ROWS[..7].iter().chain(&ROWS[13..16]).map(|row| (row, false));
    let tried: Vec<_> = refused
        .chain(ROWS[8..12].iter().chain(&ROWS[18..]).map(|row| (row, true)))
        .map(|(row, is_told)| {
            let spec = spec(&stage, row, row.way);
            let tried = if is_told { stage.try_told(0, &spec) } else { stage.try_in(0, &spec) };
            (row, tried)
        })
        .collect();
    compare(&tried);
}

#[test]
fn blanks_behind_a_key_do_not_hide_it() {
    let mut stage = Stage::new("blanks", "").unwrap();
    make_known(&stage);
    let fact = stage.lab.facts_of("known", 1).unwrap().remove(0);
    let call = stage.sensor.call_of(&fact).unwrap();
    let orders = format!("deny_keys = [{}]\n", call["tollgate.credential.fingerprint"]);
    stage.sensor.restart_with(&stage.place.options(&orders).unwrap()).unwrap();
    let row = &ROWS[7];
    compare(&[(row, stage.try_in(0, &spec(&stage, row, row.way)))]);
}

#[test]
fn empty_line_hides_no_path() {
    let stage = Stage::new("line", "deny_paths = [\"openai POST /v1/embeddings\"]\n").unwrap();
    make_known(&stage);
    let row = &ROWS[16];
    compare(&[(row, stage.try_in(0, &spec(&stage, row, row.way)))]);
}

#[test]
fn address_as_host_hides_no_model() {
    let address = address_of(HOST).unwrap().to_string();
    let dedicated = format!("[[dedicated]]\nprovider = \"openai\"\naddresses = [\"{address}\"]\n");
    let stage = Stage::new("address", &format!("deny_models = [{DENIED:?}]\n{dedicated}")).unwrap();
    make_known(&stage);
    let row = &ROWS[17];
    let mut spec = stage.spec(row.way);
    let scenario = spec["scenario"].as_str().unwrap().to_owned();
    spec["way"] = json!("spelt");
    // Nobody asks for a certificate by an address.
    spec["name"] = json!("");
    spec["writes"] = json!([chat(&scenario, &address, &body(&format!("\"model\":\"{DENIED}\"")))]);
    compare(&[(row, stage.try_in(0, &spec))]);
}

#[test]
fn model_that_cannot_be_read_is_refused_where_the_orders_say_so() {
    let orders = format!("deny_models = [{DENIED:?}]\nrefuse_opaque = true\n");
    let stage = Stage::new("unreadable", &orders).unwrap();
    make_known(&stage);
    let row = &ROWS[12];
    compare(&[(row, stage.try_in(0, &spec(&stage, row, row.way)))]);
}

#[test]
fn what_only_looks_like_a_forbidden_model_passes() {
    let stage = Stage::new("alike", "allow_models = [\"gpt-4o\"]\n").unwrap();
    make_known(&stage);
    let nested =
        "\"tools\":[{\"input\":{\"model\":\"T-34\"}}],\"model\":\"gpt-4o\",\"x\":{\"model\":1}";
    let head_and_body = |host: &str, text: &str| {
        let whole = chat("id=alike", host, text);
        let (head, body) = whole.split_at(whole.len().saturating_sub(text.len()));
        json!([head, body])
    };
    let mut spec = stage.spec("alike");
    spec["way"] = json!("spelt");
    // A service of one's own that has models too.
    for (host, text) in [(HOST, body(nested)), ("mlflow.example", body("\"model\":\"churn-7\""))] {
        spec["name"] = json!(host);
        spec["writes"] = head_and_body(host, &text);
        let (outcome, arrived) = stage.attempt(0, &spec).unwrap();
        assert!(arrived && outcome["status"].is_u64(), "{host}: {outcome}");
    }
    assert!(stage.decisions().is_empty(), "{:?}", stage.decisions());
}
