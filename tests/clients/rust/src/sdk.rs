//! A client, a specification and what it asks for come in; the answer by async-openai goes out: its id, model and pieces.

use std::error::Error;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::CreateChatCompletionRequest;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::now_ns;

/// Makes one call of chat completions, whole or streamed as the specification says.
pub async fn call(client: &reqwest::Client, spec: &Value) -> Result<Value, Box<dyn Error>> {
    let text = |name: &str| spec[name].as_str().unwrap_or_default();
    let mut config =
        OpenAIConfig::new().with_api_base(text("base_url")).with_api_key(text("api_key"));
    for (name, value) in spec["headers"].as_object().into_iter().flatten() {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes())?;
        config = config.with_header(name, value.as_str().unwrap_or_default())?;
    }
    let chat = Client::with_config(config).with_http_client(client.clone());
    let body = spec["request"]["body"].as_str().unwrap_or_default();
    let request: CreateChatCompletionRequest = serde_json::from_str(body)?;
    let started = now_ns();
    let (mut id, mut model, mut first, mut chunks) = (String::new(), String::new(), 0, 0);
    if spec["stream"] == true {
        let mut pieces = chat.chat().create_stream(request).await?;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if first == 0 {
                first = now_ns();
            }
            chunks += piece.choices.len();
            (id, model) = (piece.id, piece.model);
        }
    } else {
        let answer = chat.chat().create(request).await?;
        (id, model) = (answer.id, answer.model);
    }
    // What it does not tell: the status, which is no error's, and the version of HTTP.
    Ok(json!({
        "id": id, "model": model, "usage": null, "status": 200, "error": null, "chunks": chunks, "text_bytes": 0,
        "t_start_ns": started, "t_first_ns": first, "t_end_ns": now_ns(), "protocol": ""
    }))
}
