//! Token counts in one normal form come in; the usage objects of each wire format go out, and the other way round.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Token counts of one call, in classes that do not overlap (except that `reasoning` is part of `output`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Input tokens that touched no cache.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cached: u64,
    /// Input tokens written to a cache with the provider's usual lifetime.
    pub cache_write: u64,
    /// Input tokens written to a cache for an hour (Anthropic only).
    pub cache_write_1h: u64,
    /// All output tokens.
    pub output: u64,
    /// Output tokens spent on reasoning, part of `output` (not told by Anthropic).
    pub reasoning: u64,
}

/// Which wire format carries a usage object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `prompt_tokens`, `completion_tokens`: chat and legacy completions.
    Chat,
    /// `input_tokens` that include the cached ones: responses and images.
    Responses,
    /// `input_tokens` that leave the cached ones out: messages.
    Messages,
    /// `prompt_tokens` alone: embeddings.
    Embeddings,
    /// Messages of gRPC, which tell of no cache writes; in JSON as chat.
    Rpc,
}

impl Usage {
    /// Returns numbers that depend on nothing but the model and the path, for calls that declare none.
    pub fn derived(model: &str, path: &str) -> Self {
        let hash = fnv1a(model.bytes().chain([0]).chain(path.bytes()));
        let part = |shift: u32, modulus: u64| {
            hash.checked_shr(shift).unwrap_or(0).checked_rem(modulus).unwrap_or(0)
        };
        let output = part(17, 120).saturating_add(12);
        Self {
            input: part(0, 400).saturating_add(20),
            cached: part(40, 8).saturating_mul(16),
            cache_write: 0,
            cache_write_1h: 0,
            output,
            reasoning: output.checked_div(4).unwrap_or(0),
        }
    }

    /// Returns the counts that the format can tell at all: what a reader of the wire can know.
    #[must_use]
    pub fn as_told_by(self, shape: Shape) -> Self {
        match shape {
            Shape::Messages => Self { reasoning: 0, ..self },
            Shape::Chat | Shape::Responses => Self {
                cache_write: self.cache_write.saturating_add(self.cache_write_1h),
                cache_write_1h: 0,
                ..self
            },
            Shape::Embeddings => Self { input: self.all_input(), ..Self::default() },
            Shape::Rpc => Self {
                input: self.all_input().saturating_sub(self.cached),
                cache_write: 0,
                cache_write_1h: 0,
                ..self
            },
        }
    }

    /// Returns all input tokens, cached or not.
    pub fn all_input(&self) -> u64 {
        [self.cached, self.cache_write, self.cache_write_1h]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// Returns the usage object of a wire format.
    pub fn to_wire(&self, shape: Shape) -> Value {
        let input = self.all_input();
        let total = input.saturating_add(self.output);
        let written = self.cache_write.saturating_add(self.cache_write_1h);
        match shape {
            Shape::Chat | Shape::Rpc => {
                let mut usage = json!({
                    "prompt_tokens": input, "completion_tokens": self.output, "total_tokens": total,
                    "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
                    "completion_tokens_details": {
                        "reasoning_tokens": self.reasoning, "audio_tokens": 0,
                        "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
                    }
                });
                add_written(&mut usage, "prompt_tokens_details", written);
                usage
            }
            Shape::Responses => {
                let mut usage = json!({
                    "input_tokens": input, "input_tokens_details": {"cached_tokens": self.cached},
                    "output_tokens": self.output,
                    "output_tokens_details": {"reasoning_tokens": self.reasoning},
                    "total_tokens": total
                });
                add_written(&mut usage, "input_tokens_details", written);
                usage
            }
            Shape::Messages => json!({
                "input_tokens": self.input, "cache_creation_input_tokens": written,
                "cache_read_input_tokens": self.cached,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": self.cache_write,
                    "ephemeral_1h_input_tokens": self.cache_write_1h
                },
                "output_tokens": self.output, "service_tier": "standard"
            }),
            Shape::Embeddings => json!({"prompt_tokens": input, "total_tokens": input}),
        }
    }

    /// Reads a usage object of any of the formats; `None` where it is none of them.
    pub fn from_wire(usage: &Value) -> Option<Self> {
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        if let Some(all) = usage.get("prompt_tokens").and_then(Value::as_u64) {
            let cached = count("/prompt_tokens_details/cached_tokens");
            let cache_write = count("/prompt_tokens_details/cache_write_tokens");
            return Some(Self {
                input: all.saturating_sub(cached).saturating_sub(cache_write),
                cached,
                cache_write,
                cache_write_1h: 0,
                output: count("/completion_tokens"),
                reasoning: count("/completion_tokens_details/reasoning_tokens"),
            });
        }
        let input = usage.get("input_tokens").and_then(Value::as_u64)?;
        if usage.get("cache_read_input_tokens").is_some() {
            let cache_write_1h = count("/cache_creation/ephemeral_1h_input_tokens");
            let written = count("/cache_creation_input_tokens");
            return Some(Self {
                input,
                cached: count("/cache_read_input_tokens"),
                cache_write: written.saturating_sub(cache_write_1h),
                cache_write_1h,
                output: count("/output_tokens"),
                reasoning: 0,
            });
        }
        let cached = count("/input_tokens_details/cached_tokens");
        let cache_write = count("/input_tokens_details/cache_write_tokens");
        Some(Self {
            input: input.saturating_sub(cached).saturating_sub(cache_write),
            cached,
            cache_write,
            cache_write_1h: 0,
            output: count("/output_tokens"),
            reasoning: count("/output_tokens_details/reasoning_tokens"),
        })
    }
}

/// Hashes bytes with FNV-1a: stable across runs and machines, which the standard hasher is not.
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Only models that price cache writes report them.
fn add_written(usage: &mut Value, details: &str, written: u64) {
    if written > 0
        && let Some(details) = usage.get_mut(details).and_then(Value::as_object_mut)
    {
        details.insert("cache_write_tokens".to_owned(), written.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_tells_what_it_can_and_nothing_else() {
        let usage = Usage {
            input: 100,
            cached: 30,
            cache_write: 20,
            cache_write_1h: 5,
            output: 60,
            reasoning: 15,
        };
        for shape in [Shape::Chat, Shape::Responses, Shape::Messages, Shape::Embeddings] {
            let told = usage.as_told_by(shape);
            assert_eq!(Usage::from_wire(&told.to_wire(shape)), Some(told), "{shape:?}");
            assert_eq!(Usage::from_wire(&usage.to_wire(shape)), Some(told), "{shape:?}");
        }
    }

    #[test]
    fn derived_counts_are_the_same_in_every_run() {
        let usage = Usage::derived("gpt-4o", "/v1/chat/completions");
        assert_eq!(usage, Usage::derived("gpt-4o", "/v1/chat/completions"));
        assert_ne!(usage, Usage::derived("gpt-4o-mini", "/v1/chat/completions"));
        assert!(usage.input > 0 && usage.output > usage.reasoning);
    }

    #[test]
    fn an_object_that_is_no_usage_is_refused() {
        assert_eq!(Usage::from_wire(&json!({"tokens": 3})), None);
    }
}
