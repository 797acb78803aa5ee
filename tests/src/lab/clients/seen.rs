//! What a client printed comes in; the identifiers, models and usage it saw go out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::lab::provider::usage::Usage;

/// One call, as its caller saw it. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SeenCall {
    /// Whether it is a call of the specification beside.
    pub beside: bool,
    /// Identifier in the answer.
    pub id: String,
    /// Model named in the answer.
    pub model: String,
    /// The usage object, as it was on the wire.
    #[serde(rename = "usage")]
    pub raw_usage: Option<Value>,
    /// Status code, 0 where there was no answer.
    pub status: u16,
    /// The client's error, if it had one.
    pub error: Option<String>,
    /// Pieces of text.
    pub chunks: u64,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Protocol spoken, where the client tells.
    pub protocol: String,
    /// Before the call.
    pub t_start_ns: u64,
    /// First piece of the answer.
    pub t_first_ns: u64,
    /// After the answer.
    pub t_end_ns: u64,
    /// Body, where the client does not read it itself.
    body: Option<String>,
    /// Whether there was such a body.
    #[serde(skip)]
    bytes: bool,
}

/// One transfer, as curl's script prints it.
#[derive(Deserialize)]
struct Transfer {
    /// Three digits, zeros where there was no answer.
    status: String,
    /// Exit code.
    exit: i32,
    /// HTTP version.
    protocol: String,
    /// File with the body.
    file: String,
}

/// Where the formats keep text: parts of a stream first, then whole answers.
const TEXTS: &[&str] = &[
    "/choices/0/delta/content",
    "/choices/0/delta/tool_calls/0/function/arguments",
    "/choices/0/message/content",
    "/choices/0/message/tool_calls/0/function/arguments",
    "/choices/0/text",
    "/delta",
    "/delta/text",
    "/delta/partial_json",
    "/content/0/text",
    "/output/0/content/0/text",
    "/output/0/arguments",
];

/// Everything a client process saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its calls, in the order they ended.
    pub calls: Vec<SeenCall>,
}

impl SeenCall {
    /// Returns the usage in normal form, where the client saw one.
    pub fn usage(&self) -> Option<Usage> {
        self.raw_usage.as_ref().and_then(Usage::from_wire)
    }

    /// Reports whether the client saw bytes where others see pieces of text: its first ones hold no token yet.
    pub fn reads_bytes(&self) -> bool {
        self.bytes
    }

    /// Reports whether the answer arrived whole and without an error.
    pub fn is_complete(&self) -> bool {
        self.status == 200 && self.error.is_none()
    }

    /// Reads the call's own line, as curl's script prints it.
    pub fn from_line(line: &str) -> Result<Self> {
        let read: Transfer =
            serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
        // A transfer that failed early wrote no file.
        let body = fs::read(Path::new(&read.file)).unwrap_or_default();
        let mut call = Self {
            status: read.status.parse().context("reading a status")?,
            error: (read.exit != 0).then(|| format!("curl ended with {}", read.exit)),
            protocol: if read.protocol.starts_with('2') { "h2" } else { "http/1.1" }.to_owned(),
            body: Some(String::from_utf8_lossy(&body).into_owned()),
            ..Self::default()
        };
        call.finish();
        Ok(call)
    }

    /// Reads the body of a client that leaves that to us.
    fn finish(&mut self) {
        let Some(body) = self.body.take() else { return };
        self.bytes = true;
        let events: Vec<Value> = match serde_json::from_str(&body) {
            Ok(whole) => vec![whole],
            Err(_) => body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .filter_map(|data| serde_json::from_str(data).ok())
                .collect(),
        };
        for event in &events {
            self.read(event);
        }
    }

    /// Reads one event of a stream, or a whole body.
    fn read(&mut self, event: &Value) {
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            self.error = Some(error.to_string());
        }
        // The identifier is inside `response` or `message` where events are typed.
        let inner = event.get("response").or_else(|| event.get("message")).unwrap_or(event);
        for (field, into) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(text) = inner.get(field).and_then(Value::as_str) {
                text.clone_into(into);
            }
        }
        let groq = event.pointer("/x_groq/usage");
        for usage in [inner.get("usage"), event.get("usage"), groq].into_iter().flatten() {
            self.add_usage(usage);
        }
        let texts = TEXTS.iter().filter_map(|path| event.pointer(path)?.as_str());
        for text in texts.filter(|text| !text.is_empty()) {
            self.chunks = self.chunks.saturating_add(1);
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            self.text_bytes = self.text_bytes.saturating_add(bytes);
        }
    }

    /// Later counts replace earlier ones, field by field: Anthropic's last event leaves fields out.
    fn add_usage(&mut self, usage: &Value) {
        let Some(told) = usage.as_object() else { return };
        let known = self.raw_usage.get_or_insert_with(|| Value::Object(Map::new()));
        if let Some(known) = known.as_object_mut() {
            known.extend(told.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }
}

/// The one line that the scripts print at their end.
#[derive(Deserialize)]
struct LastLine {
    calls: Vec<SeenCall>,
}

impl Seen {
    /// Reads the last line of a script.
    pub fn from_line(line: &str) -> Result<Self> {
        let LastLine { mut calls } =
            serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
        calls.iter_mut().for_each(SeenCall::finish);
        Ok(Self { calls })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_of_clients_without_an_sdk_are_read_here() {
        let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\
                    \"usage\":{\"input_tokens\":9,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\n\
                    data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hé\"}}\n\n\
                    data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\n";
        let line = json!({"calls": [{"status": 200, "body": body}]}).to_string();
        let seen = Seen::from_line(&line).unwrap();
        let call = &seen.calls[0];
        assert_eq!((call.id.as_str(), call.chunks, call.text_bytes), ("msg_1", 1, 3));
        let usage = call.usage().unwrap();
        assert_eq!((usage.input, usage.cached, usage.output), (9, 2, 7));
        assert!(call.is_complete());
    }

    #[test]
    fn an_error_event_after_a_good_head_is_an_error() {
        let body = "data: {\"error\":{\"message\":\"no\"}}\n\n";
        let line = json!({"calls": [{"status": 200, "body": body}]}).to_string();
        assert!(!Seen::from_line(&line).unwrap().calls[0].is_complete());
    }
}
