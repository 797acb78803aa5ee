//! JSON documents of a response (a whole body, or one event of a stream) come in; the facts they add up to go out.

use std::sync::LazyLock;

use serde_json::Map;
use serde_json::Value;

use crate::provider::skim::Plan;
use crate::provider::skim::Skimmer;
use crate::provider::skim::Slot;
use crate::provider::skim::Want;
use crate::provider::usage::clean;

/// Output items that are billed by the piece; of the last two usage does not say what they cost.
const BILLED_ITEMS: &[&str] =
    &["web_search_call", "file_search_call", "image_generation_call", "code_interpreter_call"];

/// What the web is visited for without a search. No other item has an action of such a name.
const FREE_ACTIONS: &[&str] = &["open_page", "find_in_page", "find"];

/// All values of interest, over all shapes: the paths do not collide.
static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    Plan::new(&[
        ("id", Want::Text),
        ("model", Want::Text),
        ("type", Want::Text),
        ("object", Want::Text),
        ("event_type", Want::Text),
        ("done", Want::Filled),
        ("service_tier", Want::Text),
        ("serviceTier.type", Want::Text),
        // Streams of Moonshot have it here; one at the top overrules it.
        ("choices[].usage", Want::Json),
        ("usage", Want::Json),
        ("svg_usage", Want::Filled),
        ("x_groq.usage", Want::Json),
        ("result.usage", Want::Json),
        ("message.id", Want::Text),
        ("message.model", Want::Text),
        ("message.usage", Want::Json),
        ("message.content", Want::Filled),
        ("message.thinking", Want::Filled),
        ("message.tool_calls[]", Want::Filled),
        ("delta.usage", Want::Json),
        ("delta.text", Want::Filled),
        ("delta.toolUse", Want::Filled),
        ("delta.reasoningContent", Want::Filled),
        ("response", Want::Filled),
        ("response.id", Want::Text),
        ("response.model", Want::Text),
        ("response.service_tier", Want::Text),
        ("response.usage", Want::Json),
        ("response.error.code", Want::Text),
        ("response.status_details.error.code", Want::Text),
        ("response_id", Want::Text),
        ("interaction.id", Want::Text),
        ("interaction.model", Want::Text),
        ("interaction.service_tier", Want::Text),
        ("interaction.usage", Want::Json),
        ("session.model", Want::Text),
        ("session.audio.input.transcription.model", Want::Text),
        ("session.input_audio_transcription.model", Want::Text),
        ("status", Want::Text),
        ("response.output[].type", Want::Tally(BILLED_ITEMS)),
        ("response.output[].action.type", Want::Tally(FREE_ACTIONS)),
        ("response.meta.billed_units", Want::Json),
        ("response.usageMetadata", Want::Json),
        ("response.modelVersion", Want::Text),
        ("response.responseId", Want::Text),
        ("response.candidates[].content.parts[]", Want::Filled),
        ("response.candidates[].finishReason", Want::Filled),
        ("output[].type", Want::Tally(BILLED_ITEMS)),
        ("output[].action.type", Want::Tally(FREE_ACTIONS)),
        ("outputs[].model", Want::Text),
        ("choices[]", Want::Filled),
        ("choices[].text", Want::Filled),
        ("choices[].delta.content", Want::Filled),
        ("choices[].delta.reasoning", Want::Filled),
        ("choices[].delta.reasoning_content", Want::Filled),
        ("choices[].delta.refusal", Want::Filled),
        ("choices[].delta.audio", Want::Filled),
        ("choices[].delta.function_call", Want::Filled),
        ("choices[].delta.tool_calls[]", Want::Filled),
        ("usageMetadata", Want::Json),
        ("modelVersion", Want::Text),
        ("responseId", Want::Text),
        ("candidates[].content.parts[]", Want::Filled),
        ("candidates[].finishReason", Want::Filled),
        ("candidates[].groundingMetadata.webSearchQueries[]", Want::Distinct),
        ("[].usageMetadata", Want::Json),
        ("[].modelVersion", Want::Text),
        ("[].responseId", Want::Text),
        ("[].candidates[].content.parts[]", Want::Filled),
        ("[].candidates[].finishReason", Want::Filled),
        ("[].candidates[].groundingMetadata.webSearchQueries[]", Want::Distinct),
        ("[].error.status", Want::Text),
        ("meta.billed_units", Want::Json),
        ("usage_info", Want::Json),
        ("amazon-bedrock-invocationMetrics", Want::Json),
        ("prompt_eval_count", Want::Text),
        ("eval_count", Want::Text),
        ("results[].input_token_count", Want::Text),
        ("results[].generated_token_count", Want::Text),
        ("error", Want::Filled),
        ("error.type", Want::Text),
        ("error.status", Want::Text),
        ("error.code", Want::Text),
        ("code", Want::Text),
        ("__type", Want::Text),
    ])
});

/// Events after which nothing more is billed.
const LAST_EVENTS: &[&[u8]] = &[
    b"message_stop",
    b"response.completed",
    b"response.incomplete",
    b"response.failed",
    b"response.cancelled",
    b"response.done",
    b"interaction.completed",
    b"conversation.response.done",
    b"conversation.item.input_audio_transcription.completed",
    b"message-end",
    b"stream-end",
    b"transcript.text.done",
    b"speech.audio.done",
    b"image_generation.completed",
    b"image_edit.completed",
];

/// What a response has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) service_tier: Option<String>,
    /// The usage object; a later one overwrites the fields it has (they are cumulative, never to be added).
    pub(super) usage: Option<Value>,
    pub(super) web_searches: Option<u64>,
    pub(super) file_searches: Option<u64>,
    /// Uses of tools whose cost stands in no count.
    pub(super) unmetered_tools: u64,
    /// Usage objects beside the one that is read.
    pub(super) other_usages: u64,
    pub(super) grounding_queries: u64,
    pub(super) error: Option<String>,
    pub(super) failed: bool,
    /// The figures in `usage` are the last there will be.
    pub(super) finished: bool,
    /// Generated content has been seen.
    pub(super) speaks: bool,
    /// Documents that were not JSON.
    pub(super) broken: u64,
}

/// Skims one document after the other into an `Answer`.
#[derive(Debug)]
pub(super) struct Reader {
    skim: Skimmer,
    /// First bytes of the document, for the end mark.
    start: [u8; 6],
    length: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { skim: Skimmer::new(&PLAN), start: [0; 6], length: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let free = self.start.get_mut(self.length..).unwrap_or_default();
        for (to, from) in free.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length = self.length.saturating_add(bytes.len());
        self.skim.push(bytes);
    }

    /// Text at a path of the document so far, as written.
    pub(super) fn written(&self, path: &str) -> Option<&[u8]> {
        self.skim.found().find(|(found, _)| *found == path).map(|(_, slot)| slot.written())
    }

    /// Text at a path of the document so far.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.skim.found().find(|(found, _)| *found == path).and_then(|(_, slot)| slot.text())
    }

    /// Whether generated content stands in the document so far.
    pub(super) fn speaks(&self) -> bool {
        self.skim.found().any(|(path, slot)| is_content(path, slot))
    }

    /// Adds the document to the answer and begins the next one.
    pub(super) fn end_document(&mut self, answer: &mut Answer) {
        if self.length == 6 && &self.start == b"[DONE]" {
            answer.finished = true;
        } else if self.skim.is_broken() {
            answer.broken = answer.broken.saturating_add(1);
        }
        answer.absorb(&self.skim);
        self.skim.reset();
        self.length = 0;
    }
}

/// Whether a value at a path is generated content: text, reasoning, a tool call, audio.
fn is_content(path: &str, slot: &Slot) -> bool {
    match path {
        "type" | "event_type" => {
            let kind = slot.written();
            matches!(kind, b"content_block_delta" | b"text-generation" | b"content-delta")
                || matches!(kind, b"tool-plan-delta" | b"tool-call-delta" | b"tool-call-start")
                || kind.ends_with(b".delta")
        }
        // Ollama's are the text itself; elsewhere a list and an object have these names.
        "message.content" | "response" => slot.is_text(),
        "message.thinking"
        | "message.tool_calls[]"
        | "choices[].text"
        | "delta.text"
        | "delta.toolUse"
        | "delta.reasoningContent" => true,
        _ => path.starts_with("choices[].delta.") || path.ends_with("content.parts[]"),
    }
}

impl Answer {
    fn absorb(&mut self, skim: &Skimmer) {
        let mut flat = Map::new();
        let mut kind: &[u8] = b"";
        let (mut code, mut name) = (None, None);
        let (mut has_usage, mut has_choices, mut ended) = (false, false, false);
        for (path, slot) in skim.found() {
            self.speaks |= is_content(path, slot);
            match path {
                "type" | "event_type" => {
                    kind = slot.written();
                    name = Some(slot);
                }
                "code" => code = Some(slot),
                "object" if slot.written() == b"error" => self.failed = true,
                "choices[]" => has_choices = true,
                "done" => ended = true,
                // Drawings are written by another model than the one that paints.
                "svg_usage" => self.other_usages = self.other_usages.max(slot.count(0)),
                _ if path.ends_with("finishReason") => ended = true,
                _ if path.ends_with("usage")
                    || path.ends_with("usageMetadata")
                    || path.ends_with("billed_units")
                    || path == "usage_info"
                    || path == "amazon-bedrock-invocationMetrics" =>
                {
                    has_usage |= matches!(path, "usage" | "x_groq.usage");
                    ended |= path == "amazon-bedrock-invocationMetrics";
                    self.merge(slot.json());
                }
                _ if path.ends_with("_count") => {
                    let name = path.rsplit('.').next().unwrap_or(path);
                    flat.extend(slot.number().map(|n| (name.to_owned(), Value::from(n))));
                }
                _ => self.note(path, slot),
            }
        }
        if !flat.is_empty() {
            self.merge(Some(Value::Object(flat)));
        }
        self.failed |= kind == b"error";
        if self.failed && kind != b"error" {
            self.note_error(name);
        }
        if self.failed {
            self.note_error(code);
        }
        ended |= LAST_EVENTS.contains(&kind) || (has_usage && kind == b"message_delta");
        // The chunk that carries a chat's final usage has no choices.
        ended |= has_usage && !has_choices && kind.is_empty();
        self.finished |= ended;
    }

    fn note(&mut self, path: &str, slot: &Slot) {
        match path {
            "id" | "response.id" | "message.id" | "interaction.id" => {
                keep_first(&mut self.id, slot);
            }
            _ if path.ends_with("esponseId") => keep_first(&mut self.id, slot),
            "model" | "response.model" | "message.model" | "interaction.model"
            | "outputs[].model" => {
                keep_first(&mut self.model, slot);
            }
            _ if path.ends_with("modelVersion") => keep_first(&mut self.model, slot),
            "service_tier"
            | "response.service_tier"
            | "interaction.service_tier"
            | "serviceTier.type" => {
                // Every event of a stream repeats it.
                let known = self.service_tier.as_deref().map(str::as_bytes);
                if known != Some(slot.written()) {
                    self.service_tier = slot.text().as_deref().and_then(clean);
                }
            }
            "output[].type" | "response.output[].type" => {
                self.web_searches = Some(slot.count(0));
                self.file_searches = Some(slot.count(1));
                self.unmetered_tools = slot.count(2).saturating_add(slot.count(3));
            }
            // Stands behind the types in the plan: all items have been counted.
            "output[].action.type" | "response.output[].action.type" => {
                let visits = (0..FREE_ACTIONS.len()).map(|action| slot.count(action));
                let visits = visits.fold(0, u64::saturating_add);
                self.web_searches = self.web_searches.map(|all| all.saturating_sub(visits));
            }
            _ if path.ends_with("webSearchQueries[]") => {
                self.grounding_queries = self.grounding_queries.max(slot.count(0));
            }
            "error" => self.failed = true,
            "response.error.code"
            | "response.status_details.error.code"
            | "error.type"
            | "error.code"
            | "error.status"
            | "[].error.status"
            | "__type" => {
                self.failed = true;
                self.note_error(Some(slot));
            }
            _ => {}
        }
    }

    /// Keeps the provider's word for an error; the most telling one stands first in the plan.
    fn note_error(&mut self, slot: Option<&Slot>) {
        let text = slot.and_then(Slot::text).filter(|text| is_error_word(text));
        // AWS writes a namespace before `#`.
        let word = text.as_deref().and_then(|text| text.rsplit('#').find(|word| !word.is_empty()));
        // A rate limit's type is the thing that ran out; its code says what happened.
        let vague = matches!(self.error.as_deref(), None | Some("tokens" | "requests"));
        if let Some(word) = word.filter(|_| vague) {
            self.error = Some(word.to_owned());
        }
    }

    /// Notes an error that stands outside the documents.
    pub(super) fn fail(&mut self, name: &str) {
        self.failed = true;
        if self.error.is_none() && is_error_word(name) {
            self.error = Some(name.to_owned());
        }
    }

    /// Overwrites what is known of the usage with what a newer object says.
    pub(super) fn merge(&mut self, newer: Option<Value>) {
        let Some(Value::Object(newer)) = newer else { return };
        let Some(Value::Object(known)) = &mut self.usage else {
            self.usage = Some(Value::Object(newer));
            return;
        };
        for (key, value) in newer.into_iter().filter(|(_, value)| !value.is_null()) {
            known.insert(key, value);
        }
    }
}

fn keep_first(fact: &mut Option<String>, slot: &Slot) {
    if fact.is_none() {
        *fact = slot.text().as_deref().and_then(clean);
    }
}

/// Whether a word can be an error's name: anything else might be a part of a message.
pub(super) fn is_error_word(word: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'#');
    (1..=64).contains(&word.len()) && word.bytes().all(fits)
}
