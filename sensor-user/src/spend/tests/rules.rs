//! The one-line calls of the corpus come in; each must cost what its line says, for the reason it says.

use super::Call;
use super::tokens;
use super::usd;
use crate::provider::Operation;
use crate::provider::Usage;
use crate::provider::UsageQuality;
use crate::spend::Basis;
use crate::spend::Gap;

const RULES: &str = include_str!("../../../../tests/corpus/price_rules.txt");

const OPERATIONS: &[(&str, Operation)] = &[
    ("embeddings", Operation::Embeddings),
    ("images", Operation::ImageGeneration),
    ("transcription", Operation::Transcription),
    ("rerank", Operation::Rerank),
    ("moderation", Operation::Moderation),
    ("count", Operation::CountTokens),
    ("models", Operation::Models),
    ("files", Operation::Files),
    ("batch", Operation::Batch),
    ("other", Operation::Other),
];

/// Puts one word of a line into the call.
fn apply(call: &mut Call<'_>, word: &str) {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let usage = &mut call.usage;
    let count = match name {
        "in" => &mut usage.input_uncached,
        "out" => &mut usage.output,
        "read" => &mut usage.cache_read,
        "w5m" => &mut usage.cache_write_5m,
        "w30m" => &mut usage.cache_write_30m,
        "w1h" => &mut usage.cache_write_1h,
        "w12h" => &mut usage.cache_write_12h,
        "reason" => &mut usage.output_reasoning,
        "audio_in" => &mut usage.input_audio,
        "audio_read" => &mut usage.cache_read_audio,
        "image_read" => &mut usage.cache_read_image,
        "audio_out" => &mut usage.output_audio,
        "image_in" => &mut usage.input_image,
        "image_out" => &mut usage.output_image,
        "web" => &mut usage.web_searches,
        "files" => &mut usage.file_searches,
        "units" => &mut usage.search_units,
        "pages" => &mut usage.pages,
        "millis" => &mut usage.audio_millis,
        _ => return apply_context(call, name, value),
    };
    *count = Some(value.parse().unwrap());
}

fn apply_context(call: &mut Call<'_>, name: &str, value: &str) {
    match name {
        "own" => call.usage.reported_picodollars = Some(value.parse().unwrap()),
        "op" => call.operation = OPERATIONS.iter().find(|(word, _)| *word == value).unwrap().1,
        "status" => call.status = Some(value.parse().unwrap()),
        "partial" => call.quality = UsageQuality::Partial,
        "missing" => call.quality = UsageQuality::Missing,
        "unread" => call.context.unread = true,
        "batch" => call.context.batch = true,
        "tier" => call.context.service_tier = Some(value.to_owned()),
        "speed" => call.context.speed = Some(value.to_owned()),
        "geo" => call.context.geo = Some(value.to_owned()),
        "at" => call.at = value.parse::<jiff::Timestamp>().unwrap().as_second(),
        other => panic!("unknown word {other:?}"),
    }
}

#[test]
fn every_rule_is_exact() {
    let lines = RULES.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let [what, target, words, result] =
            line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let (provider, model) = target.split_once(' ').unwrap();
        let mut call = Call::chat(provider, model, Usage::default());
        for word in words.split_whitespace() {
            apply(&mut call, word);
        }
        let cost = call.cost();
        let gap = cost.gap.map_or(String::new(), |gap| format!(" {}", gap.as_str()));
        assert_eq!(format!("{}{gap}", usd(&cost)), result, "{what}");
        let basis = match (cost.picodollars, cost.gap) {
            (None, _) => Basis::Unknown,
            (Some(_), None) => Basis::Reported,
            (Some(_), Some(_)) => Basis::Estimated,
        };
        assert_eq!(cost.basis, basis, "{what}");
    }
}

#[test]
fn the_model_that_answered_is_priced() {
    let call = Call::chat("openai", "gpt-4o-mini", tokens(1_000_000, 0));
    let routed = Call { request_model: Some("gpt-4o"), ..call.clone() };
    assert_eq!(usd(&routed.cost()), "0.15");
    let renamed = Call { response_model: Some("who-knows"), ..call };
    assert_eq!(
        (usd(&renamed.cost()).as_str(), renamed.cost().gap),
        ("0.15", Some(Gap::OtherModel))
    );
    let profile = Some("us.anthropic.claude-haiku-4-5-20251001-v1:0");
    let bedrock = Call {
        request_model: profile,
        ..Call::chat("aws", "claude-haiku-4-5", tokens(1_000_000, 0))
    };
    assert_eq!((usd(&bedrock.cost()).as_str(), bedrock.cost().gap), ("1.1", None));
}

#[test]
fn a_name_beyond_the_bound_or_absent_has_no_price() {
    let long = "x".repeat(300);
    let absent = Call {
        request_model: None,
        response_model: None,
        ..Call::chat("ollama", "", tokens(1, 1))
    };
    for call in [Call::chat("ollama", &long, tokens(1, 1)), absent] {
        let cost = call.cost();
        assert_eq!(
            (cost.picodollars, cost.basis, cost.gap),
            (None, Basis::Unknown, Some(Gap::Model))
        );
    }
}
