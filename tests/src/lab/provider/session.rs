//! A handshake to the responses or the realtime API comes in; each response made over the session goes out, with its fact.

use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::harness::monotonic_ns;
use crate::lab::provider::answer::{Piece, words};
use crate::lab::provider::call::{Asked, Call, Operation};
use crate::lab::provider::connection::Connection;
use crate::lab::provider::encoding::Encoding;
use crate::lab::provider::fact::{Fact, Outcome, Pending};
use crate::lab::provider::responses;
use crate::lab::provider::scenario::Scenario;
use crate::lab::provider::service::{Service, closing, host, opening, text};
use crate::lab::provider::usage::Usage;
use crate::lab::provider::websocket::Socket;

/// Model of a realtime session whose address names none.
const REALTIME_MODEL: &str = "gpt-realtime";

/// A session in the making.
#[derive(Debug)]
pub struct Session {
    head: Parts,
    connection: Arc<Connection>,
    service: Arc<Service>,
    deflate: bool,
}

/// Whether a request asks for a session that is spoken here.
pub fn is_asked(head: &Parts) -> bool {
    let upgrades =
        text(&head.headers, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    let path = head.uri.path();
    upgrades && (path.ends_with("/responses") || path.ends_with("/realtime"))
}

impl Session {
    /// Takes a handshake that is accepted; compresses where the client offers it.
    pub fn new(head: Parts, connection: Arc<Connection>, service: Arc<Service>) -> Self {
        let offered = text(&head.headers, "sec-websocket-extensions").unwrap_or_default();
        let deflate = offered.contains("permessage-deflate");
        Self { head, connection, service, deflate }
    }

    /// Whether messages are compressed.
    pub fn compresses(&self) -> bool {
        self.deflate
    }

    /// Speaks until the client closes.
    pub async fn run(self, request: Request<Incoming>) -> Result<()> {
        let upgraded = hyper::upgrade::on(request).await.context("upgrading")?;
        let knobs = Scenario::of_call(text(&self.head.headers, "x-lab-scenario"), None, b"")?;
        let mut socket = Socket::new(TokioIo::new(upgraded), self.deflate, knobs.piece);
        let realtime = self.head.uri.path().ends_with("/realtime");
        let query = self.head.uri.query().unwrap_or_default();
        let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
        let mut model = model.unwrap_or(REALTIME_MODEL).to_owned();
        if realtime {
            let created = json!({
                "type": "session.created", "event_id": "event_0",
                "session": {"type": "realtime", "object": "realtime.session", "id": "sess_LAB", "model": model}
            });
            socket.send(created.to_string().as_bytes()).await?;
        }
        while let Some(message) = socket.next().await? {
            let began = monotonic_ns();
            self.connection.claim();
            let asked: Value = serde_json::from_slice(&message)?;
            if let Some(told) = asked.pointer("/session/model").and_then(Value::as_str) {
                told.clone_into(&mut model);
            }
            if asked.get("type").and_then(Value::as_str) != Some("response.create") {
                continue;
            }
            let knobs =
                Scenario::of_call(text(&self.head.headers, "x-lab-scenario"), None, &message)?;
            let mut asked: Asked = serde_json::from_value(asked)?;
            asked.stream = Some(true);
            if realtime {
                asked.model.clone_from(&model);
            }
            let length = u64::try_from(message.len())?;
            self.respond(&mut socket, (asked, knobs, realtime), (began, length)).await?;
        }
        Ok(())
    }

    async fn respond<T>(
        &self,
        socket: &mut Socket<T>,
        (asked, knobs, realtime): (Asked, Scenario, bool),
        (began, length): (u64, u64),
    ) -> Result<()>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let (number, tag) = self.service.next_call();
        let mut fact = opening(&self.head, &self.connection, number, began);
        "responses".clone_into(&mut fact.operation);
        "websocket".clone_into(&mut fact.protocol);
        fact.request_bytes = length;
        let mut pending = Pending::new(fact, self.service.facts().clone());
        let call = Call::new(Operation::Responses, host(&self.head), self.head.uri.path(), asked)
            .with_knobs(knobs, tag);
        let mut answer = responses::answer(&call);
        answer.model.clone_from(&call.asked.model);
        if realtime {
            // What is thought before it is said is not told apart here.
            let usage = Usage { reasoning: 0, cache_write: 0, ..call.usage };
            answer.usage = Some(usage);
            answer.pieces = spoken(&call, &answer.id, &usage);
        }
        pending.update(|fact| {
            closing(fact, &answer, &call.knobs, Encoding::Identity);
            // That of the handshake: a response has none of its own.
            fact.status = 101;
        });
        for piece in &answer.pieces {
            if !call.knobs.gap.is_zero() {
                tokio::time::sleep(call.knobs.gap).await;
            }
            let event = data_of(piece)?;
            socket.send(event).await?;
            pending.update(|fact| sent(fact, piece, event.len()));
        }
        pending.end(Outcome::Complete);
        Ok(())
    }
}

/// Notes a message that was sent.
fn sent(fact: &mut Fact, piece: &Piece, bytes: usize) {
    fact.response_bytes = fact.response_bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
    fact.chunks = fact.chunks.saturating_add(u64::from(piece.content));
    fact.usage_on_wire |= piece.usage;
    if piece.content && fact.t_first_token_ns == 0 {
        fact.t_first_token_ns = monotonic_ns();
    }
}

/// The value of a server-sent event: a message is that alone.
fn data_of(piece: &Piece) -> Result<&[u8]> {
    let text = std::str::from_utf8(&piece.bytes)?;
    let data = text.split_once("data: ").map_or(text, |(_, data)| data);
    Ok(data.trim_end().as_bytes())
}

/// The events of one response in a realtime session, in text.
fn spoken(call: &Call, id: &str, usage: &Usage) -> Vec<Piece> {
    let item = format!("item_{}", call.tag);
    let place = |kind: &str, more: Value| {
        let mut event = json!({
            "type": kind, "event_id": format!("event_{kind}"), "response_id": id, "item_id": item,
            "output_index": 0, "content_index": 0
        });
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event.to_string()
    };
    let whole = |kind: &str, status: &str, usage: Value| {
        json!({
            "type": kind, "event_id": format!("event_{kind}"),
            "response": {"object": "realtime.response", "id": id, "status": status, "output": [], "usage": usage}
        })
        .to_string()
    };
    let words = words(&call.knobs);
    let mut pieces = vec![Piece::frame(whole("response.created", "in_progress", Value::Null))];
    for word in &words {
        pieces.push(Piece::content(place("response.output_text.delta", json!({"delta": word}))));
    }
    let text = words.concat();
    pieces.push(Piece::frame(place("response.output_text.done", json!({"text": text}))));
    let input = usage.all_input();
    let told = json!({
        "total_tokens": input.saturating_add(usage.output), "input_tokens": input, "output_tokens": usage.output,
        "input_token_details": {
            "text_tokens": input, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": usage.cached,
            "cached_tokens_details": {"text_tokens": usage.cached, "audio_tokens": 0, "image_tokens": 0}
        },
        "output_token_details": {"text_tokens": usage.output, "audio_tokens": 0}
    });
    pieces.push(Piece::usage(whole("response.done", "completed", told)));
    pieces
}
