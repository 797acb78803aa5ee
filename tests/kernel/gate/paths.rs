//! Models that stand in the path of a request, and paths that are spelt in escapes: what policies forbid never arrives.

use tollgate_tests::lab::clients::{Api, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::layers::assert_told;
use super::patterns::assert_refused;
use super::place::{Place, calls};
use super::policies::{Folder, options, policy};
use super::requests::{HOST, make_known, wait_followed};

/// Clients that ask for any path, with the calls they make at once.
const CLIENTS: [(&str, u32); 4] =
    [("requests", 1), ("aiohttp", 40), ("node-fetch", 40), ("curl-h1", 1)];
const GEMINI: &str = "generativelanguage.googleapis.com";
const GEMINI_FLASH: &str = "/v1beta/models/gemini-2.5-flash%3AgenerateContent";
pub(super) const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

/// Calls of a client for a path.
pub(super) fn asking(name: &str, at_once: u32, host: &str, path: &str) -> Spec {
    Spec::new(name, Api::Chat).host(host).path(path).calls(calls(), at_once)
}

#[test]
fn request_of_gemini_or_bedrock_for_a_model_that_policies_forbid_never_arrives() {
    const NO_MODELS: &str = "    - {name: no-models, action: deny, match: {model: [\"gemini-*-pro\", \"anthropic.claude-opus-*\", \"meta.llama3-8b-instruct-v1:0\"]}}\n";
    const PATHS: [(&str, [&str; 2]); 4] = [
        (
            GEMINI,
            [
                "/v1beta/models/gemini-2.5-pro:generateContent",
                "/v1beta/models/gemini-2.5-flash:generateContent",
            ],
        ),
        (
            BEDROCK,
            [
                "/model/anthropic.claude-opus-4-1-v1:0/invoke",
                "/model/anthropic.claude-haiku-4-5-v1:0/invoke",
            ],
        ),
        (
            BEDROCK,
            [
                "/model/meta.llama3-8b-instruct-v1%3A0/invoke",
                "/model/meta.llama3-70b-instruct-v1%3A0/invoke",
            ],
        ),
        (
            BEDROCK,
            [
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fanthropic.claude-opus-4-1-v1%3A0/invoke",
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fanthropic.claude-haiku-4-5-v1%3A0/invoke",
            ],
        ),
    ];
    let lab = lab();
    let place = Place::whole("in-path").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_MODELS)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    for (name, at_once) in CLIENTS {
        make_known(&place, &lab, name);
        for (number, (host, pair)) in PATHS.into_iter().enumerate() {
            let pair = pair.map(|path| asking(name, at_once, host, path));
            assert_refused(&place, &lab, &sensor, &format!("path-{name}-{number}"), pair);
        }
    }
    assert_told(&sensor, "content", "test/no-models: ask us", "EACCES");
}

#[test]
fn request_whose_path_is_spelt_in_escapes_never_arrives_where_it_is_forbidden() {
    const NO_CHAT: &str = "    - {name: no-chat, action: deny, match: {operation: chat, provider: openai}}\n    - {name: no-models, action: deny, match: {model: gemini-2.5-pro}}\n";
    const PATHS: [(&str, &str, &str); 6] = [
        (HOST, "/v1/chat%2Fcompletions", "/v1/embeddings"),
        (HOST, "/v1/%63hat/completions", "/v1/%65mbeddings"),
        (HOST, "/v1%2Fchat%2fcompletion%73", "/v1/embeddings?x=%2Fchat%2Fcompletions"),
        (GEMINI, "/v1beta/models/gemini%2D2.5-pro:generateContent", GEMINI_FLASH),
        (GEMINI, "/v1beta/models/gemini-2.5-pro%3AgenerateContent", GEMINI_FLASH),
        (GEMINI, "/v1beta/mod%65ls%2Fgemini-2.5-pro:generateContent", GEMINI_FLASH),
    ];
    let lab = lab();
    let place = Place::whole("escapes").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_CHAT)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_followed(&sensor, 1);
    // Others write some escapes as what they stand for.
    for (name, at_once) in [("node-fetch", 40), ("curl-h1", 1)] {
        make_known(&place, &lab, name);
        for (number, (host, denied, allowed)) in PATHS.into_iter().enumerate() {
            let pair = [denied, allowed].map(|path| asking(name, at_once, host, path));
            assert_refused(&place, &lab, &sensor, &format!("escape-{name}-{number}"), pair);
        }
    }
    for rule in ["no-chat", "no-models"] {
        assert_told(&sensor, "content", &format!("test/{rule}: ask us"), "EACCES");
    }
}
