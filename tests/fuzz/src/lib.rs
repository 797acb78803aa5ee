//! Arbitrary bytes come in; a stage that panics, or disagrees with itself or with a reference, goes out as a panic.
//!
//! One function a target, so that libFuzzer (`fuzz_targets/`) and a plain test of the corpus (`tests/replay.rs`) run
//! the same code.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target says what it has found by a panic"
)]

mod input;
mod recorder;
mod record;
mod reassembly;
mod http1;
mod http2;
mod hpack;
mod sse;
mod websocket;
mod coding;
mod skim;
mod provider;
mod grpc;
mod path;
mod dns;
mod client_hello;
mod quic;
mod elf;
mod bare;
mod config;
mod policy;
mod runtime;

/// Name of a target, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has a program in `fuzz_targets/` and a folder in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("record", record::run),
    ("reassembly", reassembly::run),
    ("http1", http1::run),
    ("http2", http2::run),
    ("hpack", hpack::run),
    ("sse", sse::run),
    ("websocket", websocket::run),
    ("coding", coding::run),
    ("skim", skim::run),
    ("provider_openai_chat", |data| provider::run(&provider::OPENAI_CHAT, data)),
    ("provider_openai_responses", |data| provider::run(&provider::OPENAI_RESPONSES, data)),
    ("provider_anthropic", |data| provider::run(&provider::ANTHROPIC, data)),
    ("provider_azure", |data| provider::run(&provider::AZURE, data)),
    ("provider_compatible", |data| provider::run(&provider::COMPATIBLE, data)),
    ("provider_unlisted", |data| provider::run(&provider::UNLISTED, data)),
    ("provider_gemini", |data| provider::run(&provider::GEMINI, data)),
    ("provider_bedrock", |data| provider::run(&provider::BEDROCK, data)),
    ("provider_cohere", |data| provider::run(&provider::COHERE, data)),
    ("grpc", grpc::run),
    ("path", path::run),
    ("dns", dns::run),
    ("client_hello", client_hello::run),
    ("quic", quic::run),
    ("elf", elf::run),
    ("bare", bare::run),
    ("config", config::run),
    ("policy", policy::run),
    ("runtime", runtime::run),
];

/// Runs the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, run) = target.unwrap_or_else(|| panic!("no target is called {name}"));
    run(data);
}
