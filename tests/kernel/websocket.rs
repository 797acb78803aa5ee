//! Real clients that open WebSocket sessions come in, compressed or not; each response made over them is one exact call.

use tollgate_tests::harness::{note, run, temp_folder};
use tollgate_tests::lab::clients::titles;
use tollgate_tests::lab::clients::websocket::WEBSOCKET_CLIENTS;

use crate::openssl::{USAGE, assert_facts, assert_private, lab};
use crate::rows::Rows;
use crate::sensor::Sensor;

/// Responses made over each session.
const RESPONSES: usize = 3;

#[test]
fn each_response_of_a_session_is_one_exact_call() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for client in WEBSOCKET_CLIENTS {
        // Whole messages, and those that the server cuts into many frames.
        for knobs in ["", ",piece=37"] {
            let what = format!("{client:?}{knobs}");
            let id = format!("ws-{}-{}-{}", client.node, client.kind, knobs.len());
            let realtime = client.kind == "realtime";
            let model = if realtime { "gpt-realtime" } else { "gpt-4o-mini" };
            let folder = temp_folder("websocket").unwrap();
            // A session of Python's library has stood still once, both ends waiting; why is not known. It is tried again.
            let tries = [id.clone(), format!("{id}-again")];
            let made = tries.iter().find_map(|id| {
                let knobs = format!("id={id},{USAGE}{knobs}");
                let mut command =
                    client.command(&lab, folder.path(), model, (&knobs, RESPONSES)).unwrap();
                let said = run(&mut command);
                said.inspect_err(|_| note(&format!("{what}: the session stood still")))
                    .ok()
                    .map(|said| (id, said))
            });
            let (id, said) = made.unwrap_or_else(|| panic!("{what}: no session ended"));
            let said = String::from_utf8(said.stdout).unwrap();
            assert_eq!(said.lines().count(), RESPONSES, "{what}: {said}");
            let facts = lab.facts_of(id, RESPONSES).unwrap();
            assert_eq!(facts.len(), RESPONSES, "{what}");
            for fact in &facts {
                assert!(said.contains(&fact.id), "{what}: {said}");
                let call = sensor
                    .call_of(fact)
                    .unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", sensor.log()));
                assert_facts(&call, fact, &what);
                assert_eq!(call["tollgate.cost.basis"], "reported", "{what}: {call}");
                rows.note(titles::of_websocket(&client), [call]);
            }
            let own = |call: &&serde_json::Value| {
                facts.iter().any(|fact| call["gen_ai.response.id"] == fact.id.as_str())
            };
            assert_eq!(sensor.calls().iter().filter(own).count(), RESPONSES, "{what}");
        }
    }
    assert_private(&sensor);
    rows.hold();
}
