//! The `x-lab-scenario` and `x-lab-usage` headers (or a marker in the prompt) come in; the knobs of one call go out.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::provider::encoding::Encoding;
use crate::lab::provider::usage::Usage;

/// Opens the knobs inside a prompt: `[[lab id=a,in=10]]`, for clients that cannot set a header.
const MARKER: &[u8] = b"[[lab ";

/// Chunks of one stream: above any real answer, below what would fill memory.
const CHUNKS_MAX: u64 = 100_000;

/// Bytes of generated text in one answer.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// When pieces of a body are pushed to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// After every piece, as a model that writes token by token does.
    #[default]
    Each,
    /// When the server's buffer is full or the body ends: for load.
    Batch,
}

/// The knobs of one call; every default is what an ordinary call does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// `id`: a name that the fact repeats and that failures are counted under.
    pub id: String,
    /// `in`, `cached`, `write`, `write1h`, `out`, `reasoning`: declared usage, in the normal form of [`Usage`].
    pub usage: Option<Usage>,
    /// `chunks`: content pieces of a stream.
    pub chunks: Option<u64>,
    /// `size`: bytes of text in the answer.
    pub size: Option<u64>,
    /// `enc`: content encoding, whatever the client accepts.
    pub encoding: Option<Encoding>,
    /// `piece`: bytes of body handed to the connection at once; cuts events and letters in two.
    pub piece: Option<usize>,
    /// `split`: bytes of one write below HTTP, each a TLS record and a packet; cuts heads and chunk sizes in two.
    pub split: Option<usize>,
    /// `gap_ms`: pause before each piece but the first.
    pub gap: Duration,
    /// `first_ms`: pause before the first token.
    pub first: Duration,
    /// `flush=each|batch`.
    pub flush: Flush,
    /// `abort`: the connection (or HTTP/2 stream) breaks after so many content pieces.
    pub abort: Option<usize>,
    /// `fail`: so many calls of this `id` are refused before one is served.
    pub fail: u32,
    /// `status`: status of a refused call; 429 where not said.
    pub status: Option<u16>,
    /// `retry_after`: seconds in the `Retry-After` header of a refused call.
    pub retry_after: Option<u64>,
    /// `error`: after so many content pieces the stream carries an error event instead of the rest.
    pub error: Option<usize>,
    /// `tools=1`: the answer is a tool call.
    pub tools: bool,
    /// `close=1`: HTTP/1.1 connection is closed after the answer.
    pub close: bool,
    /// `chunked=1`: a whole HTTP/1.1 body is sent chunked, without its length.
    pub chunked: bool,
    /// `served`: model named in the answer.
    pub served: Option<String>,
    /// `tier`: service tier named in the answer.
    pub tier: Option<String>,
}

impl Scenario {
    /// Reads the knobs of a call from its two headers, or else from a marker in its body.
    pub fn of_call(scenario: Option<&str>, usage: Option<&str>, body: &[u8]) -> Result<Self> {
        let mut knobs = Self::default();
        match (scenario, usage) {
            (None, None) => knobs.read(marked(body).unwrap_or_default())?,
            _ => [scenario, usage].into_iter().flatten().try_for_each(|text| knobs.read(text))?,
        }
        Ok(knobs)
    }

    fn read(&mut self, text: &str) -> Result<()> {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').context("a knob is written name=value")?;
            self.set(name, value).with_context(|| format!("knob {name}"))?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "id" => value.clone_into(&mut self.id),
            "in" | "cached" | "write" | "write1h" | "out" | "reasoning" => {
                let usage = self.usage.get_or_insert_default();
                let count = value.parse()?;
                match name {
                    "in" => usage.input = count,
                    "cached" => usage.cached = count,
                    "write" => usage.cache_write = count,
                    "write1h" => usage.cache_write_1h = count,
                    "out" => usage.output = count,
                    _ => usage.reasoning = count,
                }
            }
            "chunks" => self.chunks = Some(value.parse::<u64>()?.min(CHUNKS_MAX)),
            "size" => self.size = Some(value.parse::<u64>()?.min(TEXT_BYTES_MAX)),
            "enc" => self.encoding = Some(value.parse()?),
            "piece" => self.piece = Some(value.parse::<usize>()?.max(1)),
            "split" => self.split = Some(value.parse::<usize>()?.max(1)),
            "gap_ms" => self.gap = Duration::from_millis(value.parse()?),
            "first_ms" => self.first = Duration::from_millis(value.parse()?),
            "flush" => {
                self.flush = match value {
                    "each" => Flush::Each,
                    "batch" => Flush::Batch,
                    _ => bail!("neither each nor batch"),
                }
            }
            "abort" => self.abort = Some(value.parse()?),
            "fail" => self.fail = value.parse()?,
            "status" => self.status = Some(value.parse()?),
            "retry_after" => self.retry_after = Some(value.parse()?),
            "error" => self.error = Some(value.parse()?),
            "tools" => self.tools = value == "1",
            "close" => self.close = value == "1",
            "chunked" => self.chunked = value == "1",
            "served" => self.served = Some(value.to_owned()),
            "tier" => self.tier = Some(value.to_owned()),
            _ => bail!("no such knob"),
        }
        Ok(())
    }
}

fn marked(body: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(body, MARKER)?.checked_add(MARKER.len())?;
    let rest = body.get(start..)?;
    let end = memchr::memmem::find(rest, b"]]")?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_come_from_headers_or_else_from_the_prompt() {
        let body = br#"{"messages":[{"role":"user","content":"hi [[lab id=p,out=5]]"}]}"#;
        let prompt = Scenario::of_call(None, None, body).unwrap();
        assert_eq!((prompt.id.as_str(), prompt.usage.unwrap().output), ("p", 5));
        let header = Scenario::of_call(Some("id=h, piece=3,enc=br"), Some("in=7"), body).unwrap();
        assert_eq!((header.id.as_str(), header.piece), ("h", Some(3)));
        assert_eq!(header.usage, Some(Usage { input: 7, ..Usage::default() }));
        assert_eq!(Scenario::of_call(None, None, b"").unwrap(), Scenario::default());
    }

    #[test]
    fn a_wrong_knob_is_an_error_and_never_ignored() {
        for text in ["colour=red", "in=many", "flush=never", "id"] {
            assert!(Scenario::of_call(Some(text), None, b"").is_err(), "{text}");
        }
    }
}
