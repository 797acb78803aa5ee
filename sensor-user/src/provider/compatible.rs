//! Usage objects of providers that speak `OpenAI`'s language with an accent come in; token classes go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::Usage;
use crate::provider::openai;
use crate::provider::usage::Reading;
use crate::provider::usage::count;
use crate::provider::usage::first_count;
use crate::provider::usage::picodollars;
use crate::provider::usage::sum;

/// Pico-dollars in one of xAI's ticks (10^-10 USD).
const PICODOLLARS_A_TICK: i64 = 100;

/// Reads a chat completion's usage in a dialect.
pub(super) fn chat(usage: &Value, dialect: Dialect) -> Reading {
    let mut reading = openai::chat(usage);
    if dialect == Dialect::Standard {
        add_connectors(&mut reading, usage);
    }
    if matches!(dialect, Dialect::Xai | Dialect::Perplexity) {
        // These two count the reasoning beside the completion.
        let own = &mut reading.usage;
        own.output =
            own.output.map(|output| output.saturating_add(own.output_reasoning.unwrap_or(0)));
    }
    if dialect == Dialect::Gemini {
        add_thoughts(&mut reading.usage, usage);
    }
    if dialect == Dialect::Openrouter {
        // What it passes on comes from Anthropic, whose default is five minutes.
        let own = &mut reading.usage;
        own.cache_write_5m = own.cache_write_30m.take();
    }
    reading.usage.reported_picodollars = reported(usage, dialect);
    reading
}

/// What Mistral's tools have read is input beside the prompt, unless the total has no room for it. Of what they did only
/// searches are counted by the piece; others may have a price that stands in no count.
fn add_connectors(reading: &mut Reading, usage: &Value) {
    let own = &mut reading.usage;
    let all = sum(count(usage, "prompt_tokens"), count(usage, "completion_tokens"));
    let total = count(usage, "total_tokens");
    let beside = count(usage, "connector_tokens").filter(|_| total.is_none() || total > all);
    own.input_uncached = sum(own.input_uncached, beside);
    own.web_searches = count(usage, "connectors.web_search");
    let mut connectors = usage.get("connectors").and_then(Value::as_object).into_iter().flatten();
    reading.partial |=
        connectors.any(|(name, uses)| name != "web_search" && uses.as_u64() != Some(0));
}

/// What the total has beyond prompt and completion was thought: it is billed as output.
fn add_thoughts(own: &mut Usage, usage: &Value) {
    let (total, prompt) = (count(usage, "total_tokens"), count(usage, "prompt_tokens"));
    let made = total.zip(prompt).and_then(|(total, prompt)| total.checked_sub(prompt));
    let Some(made) = made.filter(|made| own.output.is_none_or(|output| output < *made)) else {
        return;
    };
    let thoughts = made.saturating_sub(own.output.unwrap_or_default());
    own.output_reasoning = own.output_reasoning.or(Some(thoughts).filter(|_| own.output.is_some()));
    own.output = Some(made);
}

/// Reads a Responses usage in a dialect; there the reasoning is always inside the output.
pub(super) fn responses(usage: &Value, dialect: Dialect) -> Reading {
    let mut reading = openai::responses(usage);
    reading.usage.reported_picodollars = reported(usage, dialect);
    reading
}

/// Reads embeddings in a dialect.
pub(super) fn embeddings(usage: &Value, dialect: Dialect) -> Reading {
    let mut reading = openai::embeddings(usage);
    reading.usage.reported_picodollars = reported(usage, dialect);
    reading
}

/// Reads images and sound in a dialect; xAI says of pictures what they cost, and nothing else.
pub(super) fn media(usage: &Value, dialect: Dialect) -> Reading {
    let mut reading = openai::media(usage);
    reading.usage.reported_picodollars = reported(usage, dialect);
    reading
}

/// The provider's own amount, where its dialect has one. None is below zero: such a figure says nothing.
fn reported(usage: &Value, dialect: Dialect) -> Option<i64> {
    let dollars = |value: &Value| picodollars(value).filter(|amount| *amount >= 0);
    match dialect {
        Dialect::Standard | Dialect::Gemini => None,
        Dialect::Xai => {
            let ticks = usage.get("cost_in_usd_ticks")?.as_i64().filter(|ticks| *ticks >= 0);
            ticks?.checked_mul(PICODOLLARS_A_TICK)
        }
        Dialect::Openrouter => {
            let fee = dollars(usage.get("cost")?)?;
            // With the user's own key `cost` is only the router's fee.
            if usage.get("is_byok").and_then(Value::as_bool) != Some(true) {
                return Some(fee);
            }
            let upstream = usage.get("cost_details")?.get("upstream_inference_cost")?;
            fee.checked_add(dollars(upstream)?)
        }
        // Chunks before the last carry a cost of zero.
        Dialect::Perplexity => {
            dollars(usage.get("cost")?.get("total_cost")?).filter(|cost| *cost > 0)
        }
    }
}

/// Reads answers whose counts stand at the top: Ollama and watsonx.
pub(super) fn flat(usage: &Value) -> Reading {
    let usage = Usage {
        input_uncached: first_count(usage, &["prompt_eval_count", "input_token_count"]),
        output: first_count(usage, &["eval_count", "generated_token_count"]),
        ..Usage::default()
    };
    Reading { usage, ..Reading::default() }
}

/// Reads an OCR answer, billed by the page.
pub(super) fn ocr(usage: &Value) -> Reading {
    let pages = count(usage, "pages_processed");
    Reading { usage: Usage { pages, ..Usage::default() }, ..Reading::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::Shape;
    use crate::provider::UsageQuality;
    use crate::provider::usage::extract;

    fn read(shape: &str, usage: &Value) -> Usage {
        let shape: Shape = shape.parse().unwrap();
        extract(shape, &json!({"object": "chat.completion", "usage": usage})).0
    }

    #[test]
    fn xai_reasoning_is_added_in_chat_and_inside_in_responses() {
        let chat = read(
            "xai.chat",
            &json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1400,
            "completion_tokens_details": {"reasoning_tokens": 300}, "cost_in_usd_ticks": 22_500_000}),
        );
        assert_eq!((chat.output, chat.output_reasoning), (Some(400), Some(300)));
        assert_eq!(chat.reported_picodollars, Some(2_250_000_000));
        let responses = read(
            "xai.responses",
            &json!({"input_tokens": 1, "output_tokens": 400,
            "output_tokens_details": {"reasoning_tokens": 300}}),
        );
        assert_eq!((responses.output, responses.reported_picodollars), (Some(400), None));
    }

    #[test]
    fn deepseek_hits_are_inside_the_prompt() {
        let usage = read(
            "deepseek.chat",
            &json!({"prompt_tokens": 10000, "completion_tokens": 1000,
            "prompt_cache_hit_tokens": 8000, "prompt_cache_miss_tokens": 2000}),
        );
        assert_eq!((usage.input_uncached, usage.cache_read), (Some(2000), Some(8000)));
    }

    #[test]
    fn groq_figures_stand_in_a_field_of_their_own() {
        let body = json!({"id": "chatcmpl-1", "choices": [], "x_groq": {"id": "req_1", "usage":
            {"prompt_tokens": 10, "completion_tokens": 20}}});
        let usage = extract(Shape::Chat(Dialect::Standard), &body).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(10), Some(20)));
    }

    #[test]
    fn openrouter_cost_adds_upstream_only_with_an_own_key() {
        let fee = json!({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00014});
        assert_eq!(read("openrouter.chat", &fee).reported_picodollars, Some(140_000_000));
        let own = json!({"cost": 0.000_007, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.00014}});
        assert_eq!(read("openrouter.chat", &own).reported_picodollars, Some(147_000_000));
        let unknown = json!({"prompt_tokens": 1, "cost": 0.000_007, "is_byok": true});
        assert_eq!(read("openrouter.chat", &unknown).reported_picodollars, None);
    }

    #[test]
    fn pictures_and_embeddings_have_the_amount_of_their_dialect() {
        let ticks = json!({"data": [{"url": "u"}], "usage": {"cost_in_usd_ticks": 200_000_000}});
        let (usage, quality, _) = extract(Shape::Media(Dialect::Xai), &ticks);
        assert_eq!(usage.reported_picodollars, Some(20_000_000_000));
        assert_eq!(quality, UsageQuality::Reported);
        assert_eq!(extract(Shape::Media(Dialect::Standard), &ticks).1, UsageQuality::Missing);
        let cost = json!({"usage": {"prompt_tokens": 8, "total_tokens": 8, "cost": 0.000_000_16}});
        let usage = extract(Shape::Embeddings(Dialect::Openrouter), &cost).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(8), Some(0)));
        assert_eq!(usage.reported_picodollars, Some(160_000));
        let other = extract(Shape::Embeddings(Dialect::Standard), &cost).0;
        assert_eq!(other.reported_picodollars, None);
    }

    #[test]
    fn an_amount_below_zero_is_none() {
        let costs = [
            ("openrouter.chat", json!({"cost": -5})),
            (
                "openrouter.chat",
                json!({"cost": 1, "is_byok": true, "cost_details": {"upstream_inference_cost": -1}}),
            ),
            ("xai.chat", json!({"cost_in_usd_ticks": -7})),
            ("perplexity.chat", json!({"cost": {"total_cost": -1}})),
        ];
        for (shape, usage) in costs {
            assert_eq!(read(shape, &usage).reported_picodollars, None, "{usage}");
        }
    }

    #[test]
    fn perplexity_reports_its_cost_in_the_end_only() {
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 10, "reasoning_tokens": 5, "cost": {"total_cost": 0.006}});
        let found = read("perplexity.chat", &usage);
        assert_eq!((found.output, found.reported_picodollars), (Some(15), Some(6_000_000_000)));
        let early = json!({"prompt_tokens": 1, "cost": {"total_cost": 0}});
        assert_eq!(read("perplexity.chat", &early).reported_picodollars, None);
    }

    #[test]
    fn connectors_other_than_the_search_make_a_lower_bound() {
        let of = |connectors: Value, total: u64| {
            let body = json!({"object": "conversation.response", "usage": {"prompt_tokens": 10, "completion_tokens": 20,
                "total_tokens": total, "connector_tokens": 5, "connectors": connectors}});
            let (usage, quality, _) = extract(Shape::Chat(Dialect::Standard), &body);
            (usage.input_uncached, usage.web_searches, quality)
        };
        let search = json!({"web_search": 2, "code_interpreter": 0});
        assert_eq!(of(search, 35), (Some(15), Some(2), UsageQuality::Reported));
        let premium = json!({"web_search_premium": 1});
        assert_eq!(of(premium, 35), (Some(15), None, UsageQuality::Partial));
        assert_eq!(of(Value::Null, 30), (Some(10), None, UsageQuality::Reported));
    }

    #[test]
    fn thoughts_that_only_the_total_counts_are_output() {
        const CASES: &[(&str, Option<u64>, Option<u64>)] = &[
            (r#"{"completion_tokens":3,"prompt_tokens":9,"total_tokens":105}"#, Some(96), Some(93)),
            (r#"{"completion_tokens":3,"prompt_tokens":9,"total_tokens":12}"#, Some(3), None),
            (r#"{"completion_tokens":3,"prompt_tokens":9}"#, Some(3), None),
            (r#"{"prompt_tokens":9,"total_tokens":9}"#, Some(0), None),
        ];
        for (figures, output, thoughts) in CASES {
            let body = json!({"usage": serde_json::from_str::<Value>(figures).unwrap()});
            let usage = extract(Shape::Chat(Dialect::Gemini), &body).0;
            assert_eq!((usage.output, usage.output_reasoning), (*output, *thoughts), "{figures}");
        }
    }

    #[test]
    fn flat_counts_are_read() {
        let ollama =
            json!({"model": "m", "done": true, "prompt_eval_count": 26, "eval_count": 298});
        let usage = extract(Shape::Ollama, &ollama).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(26), Some(298)));
        let watsonx = json!({"model_id": "m", "results": [{"input_token_count": 3, "generated_token_count": 4}]});
        let usage = extract(Shape::Watsonx, &watsonx).0;
        assert_eq!((usage.input_uncached, usage.output), (Some(3), Some(4)));
        let ocr = json!({"pages": [], "model": "m", "usage_info": {"pages_processed": 29}});
        assert_eq!(extract(Shape::Ocr, &ocr).0.pages, Some(29));
    }
}
