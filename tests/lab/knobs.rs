//! Each knob of a scenario comes in; its effect on a real client and in the server's facts goes out.

use std::time::Duration;

use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::{Api, Spec};
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::provider::fact::Outcome;

fn lab() -> Lab {
    Lab::up(&Options::default()).expect("the lab needs root and the packages it names")
}

#[test]
fn sdk_retries_are_refused_and_then_served() {
    const CASES: &[(&str, Api, &str, &[u16])] = &[
        ("openai-sync", Api::Chat, "fail=2", &[429, 429, 200]),
        ("anthropic-async", Api::Messages, "fail=1,status=529", &[529, 200]),
        ("node-openai", Api::Responses, "fail=1,status=503,retry_after=1", &[503, 200]),
    ];
    let lab = lab();
    for (client, api, knobs, statuses) in CASES {
        let mut spec = Spec::new(client, *api).scenario(&format!("id={client},{knobs}"));
        spec.max_retries = 3;
        let seen = lab.run(&spec).unwrap();
        assert!(seen.calls[0].is_complete(), "{client}: {:?}", seen.calls[0].error);
        let facts = lab.facts_of(client, statuses.len()).unwrap();
        let told: Vec<u16> = facts.iter().map(|fact| fact.status).collect();
        let retries: Vec<u32> = facts.iter().filter_map(|fact| fact.retry).collect();
        assert_eq!(told, *statuses, "{client}");
        assert!(
            retries.iter().copied().eq(0..3_u32.min(retries.len().try_into().unwrap())),
            "{client}"
        );
        assert_eq!(retries.len(), statuses.len(), "{client}");
        // Refused calls cost nothing.
        assert_eq!(facts.iter().filter(|fact| fact.usage.is_some()).count(), 1, "{client}");
    }
}

#[test]
fn a_retry_waits_as_long_as_it_is_told() {
    let lab = lab();
    let mut spec = Spec::new("openai-sync", Api::Chat).scenario("id=wait,fail=1,retry_after=1");
    spec.max_retries = 1;
    lab.run(&spec).unwrap();
    let facts = lab.facts_of("wait", 2).unwrap();
    assert!(facts[1].t_request_ns - facts[0].t_end_ns >= 900_000_000, "{facts:?}");
}

#[test]
fn a_broken_answer_is_an_error_for_the_client_and_aborted_for_the_server() {
    const CASES: &[(&str, Api, bool)] = &[
        ("openai-sync", Api::Chat, true),
        ("anthropic-sync", Api::Messages, true),
        ("httpx-h2", Api::Chat, true),
        ("node-openai", Api::Chat, true),
        ("node-http2", Api::Chat, true),
        ("curl-h1", Api::Chat, true),
        ("curl-h1", Api::Chat, false),
        ("requests", Api::Chat, false),
    ];
    let lab = lab();
    for (number, (client, api, stream)) in CASES.iter().enumerate() {
        let id = format!("b{number}");
        let mut spec = Spec::new(client, *api).scenario(&format!("id={id},abort=3,enc=identity"));
        spec.stream = *stream;
        let seen = lab.run(&spec).unwrap();
        let facts = lab.facts_of(&id, 1).unwrap();
        assert!(seen.calls[0].error.is_some(), "{client}");
        assert_eq!((facts[0].outcome, facts[0].chunks), (Outcome::Aborted, 3), "{client}");
        assert!(!facts[0].usage_on_wire && facts[0].usage.is_some(), "{client}");
    }
}

#[test]
fn an_error_event_in_a_good_stream_reaches_the_client() {
    const CASES: &[(&str, Api)] = &[
        ("openai-sync", Api::Chat),
        ("node-anthropic", Api::Messages),
        ("httpx-h1", Api::Messages),
        ("openai-async", Api::Responses),
    ];
    let lab = lab();
    for (client, api) in CASES {
        let spec = Spec::new(client, *api).streamed().scenario(&format!("id={client},error=2"));
        let seen = lab.run(&spec).unwrap();
        let facts = lab.facts_of(client, 1).unwrap();
        // The call began well, so its status stays 200; the responses API's event is data to its SDK.
        assert_eq!((facts[0].status, facts[0].usage_on_wire), (200, false), "{client}");
        if *api != Api::Responses {
            assert!(seen.calls[0].error.is_some(), "{client}");
        }
        assert_eq!((facts[0].chunks, seen.calls[0].chunks), (2, 2), "{client}");
    }
}

#[test]
fn every_encoding_is_decoded_whole_and_streamed_however_it_is_cut() {
    const CUTS: &[&str] = &["", "piece=3", "split=5", "piece=7,split=3"];
    let lab = lab();
    for encoding in ["identity", "gzip", "br", "zstd"] {
        for (number, cut) in CUTS.iter().enumerate() {
            for (client, stream) in [("curl-h1", true), ("httpx-h2", false), ("httpx-h1", true)] {
                let id = format!("{encoding}{number}{client}");
                let mut spec = Spec::new(client, Api::Chat);
                spec.stream = stream;
                let seen =
                    lab.run(&spec.scenario(&format!("id={id},enc={encoding},{cut}"))).unwrap();
                let facts = lab.facts_of(&id, 1).unwrap();
                let (call, fact) = (&seen.calls[0], &facts[0]);
                assert!(call.is_complete(), "{id} {cut}: {:?}", call.error);
                assert_eq!((call.usage(), &call.id), (fact.usage, &fact.id), "{id} {cut}");
                assert_eq!(fact.encoding, encoding, "{id}");
            }
        }
    }
}

#[test]
fn bodies_of_megabytes_arrive_whole_both_ways() {
    let lab = lab();
    for (client, api) in
        [("openai-sync", Api::Chat), ("node-http2", Api::Messages), ("curl-h2", Api::Responses)]
    {
        let mut spec =
            Spec::new(client, api).scenario(&format!("id={client},size=3000000,chunks=3"));
        spec.prompt = "p".repeat(2_000_000);
        let seen = lab.run(&spec).unwrap();
        let facts = lab.facts_of(client, 1).unwrap();
        assert_eq!(
            (seen.calls[0].text_bytes, seen.calls[0].error.as_deref()),
            (3_000_000, None),
            "{client}"
        );
        assert!(facts[0].request_bytes > 2_000_000, "{client}");
    }
}

#[test]
fn a_slow_first_token_is_timed_by_both_sides() {
    let lab = lab();
    for client in ["openai-sync", "node-fetch", "httpx-h2"] {
        let spec = Spec::new(client, Api::Chat).streamed();
        let seen = lab.run(&spec.scenario(&format!("id={client},first_ms=300"))).unwrap();
        let (call, facts) = (&seen.calls[0], lab.facts_of(client, 1).unwrap());
        let waited = Duration::from_nanos(facts[0].t_first_token_ns - facts[0].t_request_ns);
        assert!(waited >= Duration::from_millis(300), "{client}: {waited:?}");
        assert!(call.t_end_ns - call.t_start_ns >= 300_000_000, "{client}");
        assert!(call.t_start_ns < facts[0].t_request_ns, "{client}");
    }
}

#[test]
fn a_tool_call_reaches_the_sdk_whole_and_streamed() {
    let lab = lab();
    for (client, api) in [
        ("openai-sync", Api::Chat),
        ("node-openai", Api::Chat),
        ("anthropic-sync", Api::Messages),
        ("node-anthropic", Api::Messages),
    ] {
        for stream in [false, true] {
            let id = format!("{client}{stream}");
            let mut spec = Spec::new(client, api).scenario(&format!("id={id},tools=1,size=400"));
            spec.stream = stream;
            let seen = lab.run(&spec).unwrap();
            let facts = lab.facts_of(&id, 1).unwrap();
            assert_eq!(
                (seen.calls[0].error.as_deref(), &seen.calls[0].id),
                (None, &facts[0].id),
                "{id}"
            );
            assert!(seen.calls[0].text_bytes > 400, "{id}: arguments are text in JSON");
        }
    }
}

#[test]
fn knobs_in_a_prompt_reach_the_server_like_those_in_a_header() {
    let lab = lab();
    let mut spec = Spec::new("openai-sync", Api::Chat);
    spec.prompt = "hello [[lab id=prompted,in=12,out=34]]".to_owned();
    lab.run(&spec).unwrap();
    let usage = lab.facts_of("prompted", 1).unwrap()[0].usage.unwrap();
    assert_eq!((usage.input, usage.output), (12, 34));
}

#[test]
fn a_revoked_key_and_a_wrong_knob_are_refused() {
    let lab = lab();
    let mut revoked = Spec::new("openai-sync", Api::Chat).scenario("id=revoked");
    revoked.api_key = "sk-proj-LABFAKE-REVOKED-0000".to_owned();
    assert_eq!(lab.run(&revoked).unwrap().calls[0].status, 401);
    let wrong = Spec::new("node-openai", Api::Chat).scenario("colour=red");
    assert_eq!(lab.run(&wrong).unwrap().calls[0].status, 400);
}
