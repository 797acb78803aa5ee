//! A file with one specification of calls comes in (argument 1); one line of JSON with what the client saw goes out.
//!
//! With two phases the second set of calls waits for a line on standard input, after the word "ready" was printed,
//! and uses the same client object, so the same connections.

#[cfg(feature = "sdk")]
mod sdk;

use std::error::Error;

use reqwest::Client;
use rustix::time::{ClockId, clock_gettime};
use rustls::ProtocolVersion;
use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(feature = "ring")]
use rustls::crypto::ring as provider;
use serde_json::{Value, json};

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// What rustls encrypts with; a client's name may ask for TLS 1.2 or for ChaCha20, with nothing else to fall back to.
fn provider_of(name: &str) -> CryptoProvider {
    let mut provider = provider::default_provider();
    let (old, chacha) = (name.contains("-tls12-"), name.contains("-chacha-"));
    if old || chacha {
        provider.cipher_suites.retain(|suite| {
            let is_old = suite.version().version == ProtocolVersion::TLSv1_2;
            is_old == old && format!("{:?}", suite.suite()).contains("CHACHA20") == chacha
        });
    }
    provider
}

fn client(name: &str) -> Result<Client, Box<dyn Error>> {
    let builder = Client::builder();
    let builder = if name.ends_with("-h2") { builder } else { builder.http1_only() };
    Ok(builder.build()?)
}

async fn call(client: &Client, spec: &Value) -> Result<Value, Box<dyn Error>> {
    #[cfg(feature = "sdk")]
    if spec["client"].as_str().is_some_and(|name| name.starts_with("async-openai")) {
        return sdk::call(client, spec).await;
    }
    let request = &spec["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let started = now_ns();
    let mut builder = client.post(text(&request["url"])).body(text(&request["body"]));
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        builder = builder.header(name, text(value));
    }
    let mut answer = builder.send().await?;
    let status = answer.status().as_u16();
    let h2 = answer.version() == reqwest::Version::HTTP_2;
    let (mut body, mut first) = (Vec::new(), 0);
    while let Some(part) = answer.chunk().await? {
        if first == 0 {
            first = now_ns();
        }
        body.extend_from_slice(&part);
    }
    Ok(json!({
        "id": "", "model": "", "usage": null, "status": status, "error": null, "chunks": 0, "text_bytes": 0,
        "t_start_ns": started, "t_first_ns": first, "t_end_ns": now_ns(),
        "protocol": if h2 { "h2" } else { "http/1.1" }, "body": String::from_utf8(body)?
    }))
}

async fn run(spec: Value) -> Result<(), Box<dyn Error>> {
    let client = client(spec["client"].as_str().unwrap_or_default())?;
    let mut calls = Vec::new();
    for phase in 0..spec["phases"].as_u64().unwrap_or(1) {
        if phase > 0 {
            println!("ready");
            std::io::stdin().read_line(&mut String::new())?;
        }
        for _ in 0..spec["count"].as_u64().unwrap_or(1) {
            calls.push(call(&client, &spec).await?);
        }
    }
    println!("{}", json!({ "calls": calls }));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("no specification")?;
    let spec: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    provider_of(spec["client"].as_str().unwrap_or_default())
        .install_default()
        .map_err(|_| "a provider was installed before")?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(spec))
}
