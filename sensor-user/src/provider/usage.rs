//! A response body, or what was skimmed from one, comes in; token counts in disjoint classes and the price context go out.

use serde_json::Value;

use crate::provider::Dialect;
use crate::provider::PriceContext;
use crate::provider::Shape;
use crate::provider::Usage;
use crate::provider::UsageQuality;
use crate::provider::answer::Answer;
use crate::provider::answer::Reader;
use crate::provider::anthropic;
use crate::provider::bedrock;
use crate::provider::cohere;
use crate::provider::compatible;
use crate::provider::gemini;
use crate::provider::openai;
use crate::provider::skim::whole_number;

/// What one usage object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) usage: Usage,
    pub(super) context: PriceContext,
    /// The figures do not say everything: they are lower bounds.
    pub(super) partial: bool,
}

/// Reads a whole response body. Goes the same way as a captured one, skimmer included.
pub fn extract(shape: Shape, body: &Value) -> (Usage, UsageQuality, PriceContext) {
    let mut reader = Reader::new();
    reader.push(body.to_string().as_bytes());
    let mut answer = Answer::default();
    reader.end_document(&mut answer);
    let (reading, quality) = read(shape, &answer, false);
    (reading.usage, quality, reading.context)
}

/// Reads what was skimmed. `long_cache` says that the request asked for a one-hour cache.
pub(super) fn read(shape: Shape, answer: &Answer, long_cache: bool) -> (Reading, UsageQuality) {
    let mut reading = match (shape, answer.usage.as_ref()) {
        (Shape::Chat(dialect), Some(usage)) => Some(compatible::chat(usage, dialect)),
        (Shape::Responses(dialect), Some(usage)) => Some(compatible::responses(usage, dialect)),
        (Shape::Embeddings(dialect), Some(usage)) => Some(compatible::embeddings(usage, dialect)),
        (Shape::Media(dialect), Some(usage)) => Some(compatible::media(usage, dialect)),
        (Shape::Messages, Some(usage)) => Some(anthropic::usage(usage, long_cache)),
        (Shape::Gemini, Some(usage)) => Some(gemini::usage(usage)),
        (Shape::Interaction, Some(usage)) => Some(gemini::interaction(usage)),
        (Shape::Converse, Some(usage)) => Some(bedrock::converse(usage)),
        (Shape::Invoke, Some(usage)) => Some(bedrock::invoke(usage, long_cache)),
        (Shape::Cohere, Some(usage)) => Some(cohere::usage(usage)),
        (Shape::Ollama | Shape::Watsonx, Some(usage)) => Some(compatible::flat(usage)),
        (Shape::Ocr, Some(usage)) => Some(compatible::ocr(usage)),
        (Shape::Guess, Some(usage)) => Some(guess(usage, long_cache)),
        (Shape::None, _) | (_, None) => None,
    }
    .unwrap_or_default();
    reading.partial |= answer.usage.as_ref().is_some_and(is_absurd) || answer.other_usages > 0;
    let known = reading.usage != Usage::default();
    if known && matches!(shape, Shape::Responses(_)) {
        reading.usage.web_searches = answer.web_searches;
        reading.usage.file_searches = answer.file_searches;
        // The provider's own amount has all tools in it.
        reading.partial |=
            answer.unmetered_tools > 0 && reading.usage.reported_picodollars.is_none();
    }
    if let (Shape::Messages | Shape::Invoke | Shape::Guess, Some(usage), Some(model)) =
        (shape, answer.usage.as_ref(), answer.model.as_deref())
    {
        reading.partial |= anthropic::asks_other_model(usage, model);
    }
    if known && shape == Shape::Gemini && answer.grounding_queries > 0 {
        reading.usage.web_searches = Some(answer.grounding_queries);
    }
    if reading.context.service_tier.is_none() {
        reading.context.service_tier.clone_from(&answer.service_tier);
    }
    reading.context.batch |= reading.context.service_tier.as_deref() == Some("batch");
    let quality = match (known, reading.partial) {
        (false, _) => UsageQuality::Missing,
        (true, true) => UsageQuality::Partial,
        (true, false) => UsageQuality::Reported,
    };
    (reading, quality)
}

/// Chooses the reader by the names in the usage object.
fn guess(usage: &Value, long_cache: bool) -> Reading {
    let has = |name| usage.get(name).is_some();
    if has("promptTokenCount") {
        gemini::usage(usage)
    } else if has("inputTokens") {
        bedrock::converse(usage)
    } else if has("cache_creation_input_tokens") || has("cache_read_input_tokens") {
        anthropic::usage(usage, long_cache)
    } else if has("input_tokens") {
        openai::media(usage)
    } else if has("cost_in_usd_ticks") {
        compatible::chat(usage, Dialect::Xai)
    } else {
        compatible::chat(usage, Dialect::Standard)
    }
}

/// Largest count that is believed: what is beyond it is a broken peer, or one that wants sums to overflow.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// The same for a peer that counts in doubles.
const ABSURD: f64 = 1e12;
/// An amount of money, which may be larger: 10^12 of its ticks are 100 dollars.
const AMOUNT: &str = "cost_in_usd_ticks";

/// The count at a path such as `prompt_tokens_details.cached_tokens`; absent, null, negative and absurd are unknown.
pub(super) fn count(object: &Value, path: &str) -> Option<u64> {
    let value = path.split('.').try_fold(object, |value, key| value.get(key))?;
    let count = value.as_u64().or_else(|| whole_number(&value.as_number()?.to_string()))?;
    (count <= COUNT_MAX).then_some(count)
}

/// Whether a number in a usage object is none that [`count`] believes.
fn is_absurd(usage: &Value) -> bool {
    match usage {
        Value::Number(number) => match number.as_u64() {
            Some(count) => count > COUNT_MAX,
            None => number.as_f64().is_some_and(|count| count > ABSURD),
        },
        Value::Array(all) => all.iter().any(is_absurd),
        Value::Object(all) => all.iter().any(|(key, value)| key != AMOUNT && is_absurd(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// The first of several counts that is known.
pub(super) fn first_count(object: &Value, paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| count(object, path))
}

/// A short text at `key`, cleaned.
pub(super) fn text(object: &Value, key: &str) -> Option<String> {
    object.get(key)?.as_str().and_then(clean)
}

/// Adds what is known of two counts.
pub(super) fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
}

/// Takes `parts` out of `total`; the flag says that they did not fit in.
pub(super) fn rest(total: Option<u64>, parts: &[Option<u64>]) -> (Option<u64>, bool) {
    let Some(total) = total else { return (None, false) };
    let inside = parts.iter().flatten().fold(0_u64, |sum, part| sum.saturating_add(*part));
    (Some(total.saturating_sub(inside)), inside > total)
}

/// Longest text kept of a peer's answer, in bytes: names of models and tiers are far shorter.
const CLEAN_MAX: usize = 256;

/// Removes control characters and cuts at the bound; `None` where nothing is left.
pub(super) fn clean(text: &str) -> Option<String> {
    let mut kept = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if kept.len().saturating_add(letter.len_utf8()) > CLEAN_MAX {
            break;
        }
        kept.push(letter);
    }
    (!kept.is_empty()).then_some(kept)
}

/// A decimal number of dollars as whole pico-dollars, rounded half to even; exact for up to twelve decimals.
pub(super) fn picodollars(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => scaled(&number.to_string(), 12),
        Value::String(text) => scaled(text, 12),
        _ => None,
    }
}

/// `text` times 10^`places`, rounded half to even. Understands `-1.5e-7`.
pub(super) fn scaled(text: &str, places: i32) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |d| (true, d));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let figures = format!("{whole}{fraction}");
    // Nineteen more digits than fit would only be rounded away.
    if figures.is_empty() || figures.len() > 38 || !figures.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i128 = figures.parse().ok()?;
    let shift = exponent
        .parse::<i32>()
        .ok()?
        .checked_add(places)?
        .checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let result = match (shift >= 0, power) {
        (true, power) => number.checked_mul(power?)?,
        (false, None) => 0,
        (false, Some(power)) => divide_half_even(number, power)?,
    };
    i64::try_from(if negative { result.checked_neg()? } else { result }).ok()
}

fn divide_half_even(number: i128, by: i128) -> Option<i128> {
    let (quotient, left) = (number.checked_div(by)?, number.checked_rem(by)?);
    let twice = left.checked_mul(2)?;
    let up = twice > by || (twice == by && quotient & 1 == 1);
    quotient.checked_add(i128::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_picodollars_exactly() {
        const CASES: &[(&str, Option<i64>)] = &[
            ("0.00123", Some(1_230_000_000)),
            ("1e-05", Some(10_000_000)),
            ("2.5E-7", Some(250_000)),
            ("12", Some(12_000_000_000_000)),
            ("-0.5", Some(-500_000_000_000)),
            ("0.0000000000005", Some(0)),
            ("0.0000000000015", Some(2)),
            ("1e-40", Some(0)),
            ("1e40", None),
            ("9999999999", None),
            ("", None),
            ("abc", None),
            ("1.2.3", None),
        ];
        for (text, expected) in CASES {
            assert_eq!(scaled(text, 12), *expected, "{text}");
        }
    }

    #[test]
    fn count_that_is_absurd_is_none() {
        let of = |usage: Value| {
            let shape = Shape::Chat(Dialect::Xai);
            let (usage, quality, _) = extract(shape, &serde_json::json!({"usage": usage}));
            (usage.input_uncached, usage.output, quality)
        };
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let most = of(json(r#"{"prompt_tokens":1000000000000,"completion_tokens":5}"#));
        assert_eq!(most, (Some(COUNT_MAX), Some(5), UsageQuality::Reported));
        for absurd in
            ["1000000000001", "9223372036854775807", "18446744073709551615", "1e15", "1e30"]
        {
            let text = format!(r#"{{"prompt_tokens":{absurd},"completion_tokens":5}}"#);
            assert_eq!(of(json(&text)), (None, Some(5), UsageQuality::Partial), "{absurd}");
            let alone = format!(r#"{{"prompt_tokens":{absurd}}}"#);
            assert_eq!(of(json(&alone)).2, UsageQuality::Missing, "{absurd}");
        }
        let dear = of(json(r#"{"prompt_tokens":1,"cost_in_usd_ticks":2000000000000}"#));
        assert_eq!(dear.2, UsageQuality::Reported);
    }

    #[test]
    fn parts_that_do_not_fit_are_noticed() {
        assert_eq!(rest(Some(10), &[Some(4), None]), (Some(6), false));
        assert_eq!(rest(Some(10), &[Some(4), Some(7)]), (Some(0), true));
        assert_eq!(rest(None, &[Some(4)]), (None, false));
    }

    #[test]
    fn control_characters_and_length_are_bounded() {
        assert_eq!(clean("a\u{1b}[0m\nb"), Some("a[0mb".into()));
        assert_eq!(clean("\n"), None);
        assert_eq!(clean(&"é".repeat(200)).map(|t| t.len()), Some(256));
    }
}
