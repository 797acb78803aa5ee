//! The choices of a test come in; the specification that a client script reads goes out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lab::clients::rust::Provider;

/// Key of `OpenAI`'s shape: long enough for every rule, obviously no real one.
pub const OPENAI_KEY: &str = "sk-proj-LABFAKE0000LABFAKE0000LABFAKE0000LABFAKE0000oa01";

/// Key of Anthropic's shape.
pub const ANTHROPIC_KEY: &str =
    "sk-ant-api03-LABFAKE0000LABFAKE0000LABFAKE0000LABFAKE0000-LABan01AA";

/// Key of xAI's shape.
pub const XAI_KEY: &str = "xai-LABFAKE0000LABFAKE0000LABFAKE0000LABFAKE0000LABxa01";

/// Prompt of every call that asks for no other.
pub const PROMPT: &str = "Say something, please.";

/// Which API a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `OpenAI` chat completions, and every service that speaks them.
    Chat,
    /// `OpenAI` legacy completions.
    Completions,
    /// `OpenAI` responses.
    Responses,
    /// `OpenAI` embeddings.
    Embeddings,
    /// Anthropic messages.
    Messages,
    /// Anthropic token counting.
    CountTokens,
    /// xAI's chat, over gRPC.
    Grok,
}

/// What runs a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The interpreter of the kit's virtual environment; libssl of the system.
    Python,
    /// The same; `BoringSSL` inside of gRPC's extension module.
    Grpc,
    /// Node; OpenSSL inside the executable.
    Node,
    /// curl, started by a shell; libssl of the system.
    Curl,
    /// reqwest, by itself or under an SDK; rustls inside the executable.
    Rust(Provider),
    /// The same without symbols.
    RustBare(Provider),
}

/// One real client and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Name, as in a [`Spec`].
    pub name: &'static str,
    /// What runs it.
    pub program: Program,
    /// Protocol it agrees on with a server that offers both.
    pub protocol: &'static str,
    /// APIs it offers.
    pub apis: &'static [Api],
    /// Whether many calls can be under way at once in one process.
    pub concurrent: bool,
}

const OPENAI: &[Api] = &[Api::Chat, Api::Completions, Api::Responses, Api::Embeddings];
const ANTHROPIC: &[Api] = &[Api::Messages, Api::CountTokens];
const ANTHROPIC_NODE: &[Api] = &[Api::Messages];
const ALL: &[Api] = &[
    Api::Chat,
    Api::Completions,
    Api::Responses,
    Api::Embeddings,
    Api::Messages,
    Api::CountTokens,
];

const H1: &str = "http/1.1";
const H2: &str = "h2";

const fn client(
    name: &'static str,
    program: Program,
    protocol: &'static str,
    apis: &'static [Api],
) -> Client {
    Client {
        name,
        program,
        protocol,
        apis,
        concurrent: matches!(program, Program::Python | Program::Grpc | Program::Node),
    }
}

/// Every client of the lab.
pub const CLIENTS: &[Client] = &[
    client("openai-sync", Program::Python, H1, OPENAI),
    client("openai-async", Program::Python, H1, OPENAI),
    client("anthropic-sync", Program::Python, H1, ANTHROPIC),
    client("anthropic-async", Program::Python, H1, ANTHROPIC),
    client("langchain-openai", Program::Python, H1, &[Api::Chat]),
    client("httpx-h1", Program::Python, H1, ALL),
    client("httpx-h2", Program::Python, H2, ALL),
    client("requests", Program::Python, H1, ALL),
    client("aiohttp", Program::Python, H1, ALL),
    client("xai-sdk-sync", Program::Grpc, H2, &[Api::Grok]),
    client("xai-sdk-async", Program::Grpc, H2, &[Api::Grok]),
    client("node-openai", Program::Node, H1, OPENAI),
    client("node-anthropic", Program::Node, H1, ANTHROPIC_NODE),
    client("node-fetch", Program::Node, H1, ALL),
    client("node-undici", Program::Node, H1, ALL),
    client("node-http2", Program::Node, H2, ALL),
    client("curl-h1", Program::Curl, H1, ALL),
    client("curl-h2", Program::Curl, H2, ALL),
    client("reqwest-h1", Program::Rust(Provider::AwsLc), H1, ALL),
    client("reqwest-h2", Program::Rust(Provider::AwsLc), H2, ALL),
    client("reqwest-bare-h1", Program::RustBare(Provider::AwsLc), H1, ALL),
    client("reqwest-bare-h2", Program::RustBare(Provider::AwsLc), H2, ALL),
    client("async-openai-h2", Program::Rust(Provider::AwsLc), H2, &[Api::Chat]),
    client("async-openai-bare-h1", Program::RustBare(Provider::AwsLc), H1, &[Api::Chat]),
    client("reqwest-ring-h1", Program::Rust(Provider::Ring), H1, ALL),
    client("reqwest-ring-h2", Program::Rust(Provider::Ring), H2, ALL),
    client("reqwest-ring-bare-h1", Program::RustBare(Provider::Ring), H1, ALL),
    client("reqwest-ring-bare-h2", Program::RustBare(Provider::Ring), H2, ALL),
    client("reqwest-ring-chacha-h1", Program::Rust(Provider::Ring), H1, &[Api::Chat]),
    client("reqwest-ring-chacha-h2", Program::RustBare(Provider::Ring), H2, &[Api::Chat]),
    client("reqwest-ring-tls12-h1", Program::Rust(Provider::Ring), H1, &[Api::Chat]),
    client("reqwest-ring-tls12-h2", Program::RustBare(Provider::Ring), H2, &[Api::Chat]),
    client("reqwest-ring-tls12-chacha-h1", Program::Rust(Provider::Ring), H1, &[Api::Chat]),
];

/// What one client process should do.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name of a client of [`CLIENTS`].
    pub client: String,
    /// API to call.
    pub api: Api,
    /// Host to call; decides the dialect, the path and the SDK's class.
    pub host: String,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Calls in each phase.
    pub count: u32,
    /// Calls under way at once.
    pub concurrency: u32,
    /// Whether all calls share one client object and so its connections.
    pub reuse: bool,
    /// 2 for a client that waits, connected, between two sets of calls.
    pub phases: u32,
    /// Model, or deployment on Azure; empty where the path names it.
    pub model: String,
    /// Path that a client without an SDK asks for, in place of the API's.
    pub path: Option<String>,
    /// Prompt.
    pub prompt: String,
    /// Key.
    pub api_key: String,
    /// Knobs of the calls, sent as `x-lab-scenario`.
    pub scenario: String,
    /// Further header fields.
    pub headers: BTreeMap<String, String>,
    /// Whether chat streams ask for their usage.
    pub include_usage: bool,
    /// Retries of an SDK.
    pub max_retries: u32,
    /// Patience of a client with one call.
    pub timeout_secs: u32,
    /// Calls that the same process makes by turns with these, as many and as many at once in all.
    pub beside: Option<Box<Self>>,
}

impl Spec {
    /// One whole call of a client to the usual host of an API.
    pub fn new(client: &str, api: Api) -> Self {
        let anthropic = matches!(api, Api::Messages | Api::CountTokens);
        let (host, model, key) = match (anthropic, api) {
            (true, _) => ("api.anthropic.com", "claude-sonnet-4-5", ANTHROPIC_KEY),
            (false, Api::Grok) => ("api.x.ai", "grok-4", XAI_KEY),
            (false, Api::Embeddings) => ("api.openai.com", "text-embedding-3-small", OPENAI_KEY),
            (false, _) => ("api.openai.com", "gpt-4o-mini", OPENAI_KEY),
        };
        Self {
            client: client.to_owned(),
            api,
            host: host.to_owned(),
            stream: false,
            count: 1,
            concurrency: 1,
            reuse: true,
            phases: 1,
            model: model.to_owned(),
            path: None,
            prompt: PROMPT.to_owned(),
            api_key: key.to_owned(),
            scenario: String::new(),
            headers: BTreeMap::new(),
            include_usage: true,
            max_retries: 0,
            timeout_secs: 60,
            beside: None,
        }
    }

    /// Asks for streamed answers.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        self.stream = true;
        self
    }

    /// Sets the knobs of the calls (see [`crate::lab::provider::scenario::Scenario`]).
    #[must_use]
    pub fn scenario(mut self, knobs: &str) -> Self {
        knobs.clone_into(&mut self.scenario);
        self
    }

    /// Calls another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Asks for another path, whose request says nothing of a model; not offered by SDKs.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self.model.clear();
        self
    }

    /// Makes many calls, some of them at once.
    #[must_use]
    pub fn calls(mut self, count: u32, concurrency: u32) -> Self {
        (self.count, self.concurrency) = (count, concurrency);
        self
    }

    /// Makes the calls of another specification by turns with these, in the same process; not offered by curl.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }

    /// Makes the calls twice, with a wait for [`crate::lab::clients::Running::go`] between.
    #[must_use]
    pub fn two_phases(mut self) -> Self {
        self.phases = 2;
        self
    }

    /// Finds the client's row.
    pub fn row(&self) -> Result<&'static Client> {
        let row = CLIENTS.iter().find(|row| row.name == self.client).context("no such client")?;
        ensure!(row.apis.contains(&self.api), "{} does not offer {:?}", row.name, self.api);
        ensure!(row.concurrent || self.concurrency == 1, "{} makes one call at a time", row.name);
        Ok(row)
    }

    /// Returns the URL that a client without an SDK calls.
    pub fn url(&self) -> String {
        let operation = match self.api {
            Api::Chat => "chat/completions",
            Api::Completions => "completions",
            Api::Responses => "responses",
            Api::Embeddings => "embeddings",
            Api::Messages => "messages",
            Api::CountTokens => "messages/count_tokens",
            // No client without an SDK speaks it.
            Api::Grok => "",
        };
        if let Some(path) = &self.path {
            return self.origin() + path;
        }
        if self.is_azure() {
            let model = &self.model;
            return format!(
                "{}/openai/deployments/{model}/{operation}?api-version=2024-10-21",
                self.origin()
            );
        }
        format!("{}/{operation}", self.base_url())
    }

    /// Returns the header fields of a client without an SDK.
    pub fn request_headers(&self) -> BTreeMap<String, String> {
        let mut headers = self.all_headers();
        headers.insert("content-type".to_owned(), "application/json".to_owned());
        match self.api {
            Api::Messages | Api::CountTokens => {
                headers.insert("x-api-key".to_owned(), self.api_key.clone());
                headers.insert("anthropic-version".to_owned(), "2023-06-01".to_owned());
            }
            _ if self.is_azure() => {
                headers.insert("api-key".to_owned(), self.api_key.clone());
            }
            // A signature names its scheme itself.
            _ if self.api_key.starts_with("AWS4-") => {
                headers.insert("authorization".to_owned(), self.api_key.clone());
            }
            _ => {
                headers.insert("authorization".to_owned(), format!("Bearer {}", self.api_key));
            }
        }
        headers
    }

    /// Returns the body of a client without an SDK.
    pub fn request_body(&self) -> Value {
        let messages = json!([{"role": "user", "content": self.prompt}]);
        let mut body = match self.api {
            Api::Chat | Api::CountTokens | Api::Grok => {
                json!({"model": self.model, "messages": messages})
            }
            Api::Completions => json!({"model": self.model, "prompt": self.prompt}),
            Api::Responses | Api::Embeddings => json!({"model": self.model, "input": self.prompt}),
            Api::Messages => json!({"model": self.model, "max_tokens": 1024, "messages": messages}),
        };
        if let Some(fields) = body.as_object_mut().filter(|_| self.model.is_empty()) {
            fields.remove("model");
        }
        let Some(fields) = body.as_object_mut().filter(|_| self.stream) else { return body };
        fields.insert("stream".to_owned(), json!(true));
        if self.include_usage && matches!(self.api, Api::Chat | Api::Completions) {
            fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        body
    }

    /// Returns what the scripts read.
    pub fn to_json(&self) -> Value {
        let mut read = json!({
            "client": self.client, "api": self.api, "stream": self.stream, "count": self.count,
            "concurrency": self.concurrency, "reuse": self.reuse, "phases": self.phases,
            "model": self.model, "prompt": self.prompt, "api_key": self.api_key,
            "headers": self.all_headers(), "include_usage": self.include_usage,
            "max_retries": self.max_retries, "timeout_secs": self.timeout_secs,
            "azure": self.is_azure(), "origin": self.origin(), "base_url": self.base_url(),
            "request": {
                "url": self.url(), "headers": self.request_headers(),
                "body": self.request_body().to_string()
            }
        });
        if let (Some(fields), Some(other)) = (read.as_object_mut(), &self.beside) {
            fields.insert("beside".to_owned(), other.to_json());
        }
        read
    }

    fn all_headers(&self) -> BTreeMap<String, String> {
        let mut headers = self.headers.clone();
        if !self.scenario.is_empty() {
            headers.insert("x-lab-scenario".to_owned(), self.scenario.clone());
        }
        headers
    }

    fn is_azure(&self) -> bool {
        self.host.ends_with(".openai.azure.com")
    }

    fn origin(&self) -> String {
        format!("https://{}", self.host)
    }

    fn base_url(&self) -> String {
        let prefix = match self.host.as_str() {
            "api.groq.com" => "/openai/v1",
            "openrouter.ai" => "/api/v1",
            "api.fireworks.ai" => "/inference/v1",
            _ => "/v1",
        };
        self.origin() + prefix
    }
}
