//! Every model of the table with made-up counts comes in; our price is compared with that of the source's calculator.

use std::time::Duration;
use std::time::UNIX_EPOCH;

use genai_prices::PriceRequest;
use genai_prices::UsageKey;

use super::NOON;
use super::PRICES;
use crate::provider::Operation;
use crate::provider::PriceContext;
use crate::provider::Usage;
use crate::provider::UsageQuality;
use crate::spend::Cost;
use crate::spend::Gap;
use crate::spend::Query;
use crate::spend::round_usd;

/// 2026-07-25T17:20:00Z.
const SUMMER: i64 = 1_785_000_000;

/// Seven in the morning UTC of a Saturday, and of a Saturday before there was a peak.
const PEAK: &[i64] = &[NOON - 53 * 3600, SUMMER - 37_200];

/// A Monday noon, a Monday peak hour, the year after, and those above.
const INSTANTS: &[i64] = &[NOON, NOON - 5 * 3600, 1_799_600_400, SUMMER, PEAK[0], PEAK[1]];

/// What a call is priced by, besides its counts.
const CONTEXTS: &[Option<(&str, &str)>] = &[
    None,
    Some(("service_tier", "flex")),
    Some(("service_tier", "priority")),
    Some(("processing", "batch")),
];

/// Amounts may differ by one part in this many, and a pico-dollar: the source reckons in doubles.
const PARTS: u64 = 1_000_000_000;

struct Case<'a> {
    provider: &'a str,
    name: &'a str,
    row: &'a str,
    at: i64,
    context: Option<(&'static str, &'static str)>,
    usage: Usage,
}

/// Why the two differ where they do; a difference without a reason here fails.
fn known_difference(case: &Case<'_>, cost: &Cost) -> bool {
    match case.provider {
        // The rate above 200,000 tokens ended with the long context.
        "anthropic" => case.row == "claude-sonnet-4-5",
        // Weekends are off-peak, and there was no peak in summer.
        "deepseek" => {
            (case.row.starts_with("deepseek-v4") || case.row == "deepseek-flash")
                && PEAK.contains(&case.at)
        }
        // The source has no fee for the search that each answer takes.
        "openai" => matches!(case.row, "gpt-4o-search-preview" | "gpt-5-search-api"),
        // Sources disagree on a bare id, where the row is dearer than that of the worldwide profile.
        "aws" => {
            let profile = format!("global.{}", case.name);
            let worldwide = Case { name: &profile, usage: case.usage.clone(), ..*case };
            cost.gap == Some(Gap::Disputed)
                && case.name.starts_with("anthropic.")
                && cost.picodollars == ours(&worldwide).picodollars
        }
        _ => false,
    }
}

/// A fixed sequence: the same cases in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).checked_rem(bound).unwrap_or_default()
    }
}

fn made_up(random: &mut Random) -> Usage {
    let input = random.below(600_000);
    let output = random.below(50_000);
    Usage {
        input_uncached: Some(input),
        cache_read: Some(random.below(300_000)),
        cache_write_5m: Some(random.below(20_000)),
        cache_write_1h: Some(random.below(20_000)),
        output: Some(output),
        output_reasoning: Some(random.below(output.saturating_add(1))),
        ..Usage::default()
    }
}

/// The same counts in the source's words; there, wholes include their parts.
fn theirs(case: &Case<'_>) -> i64 {
    let count = |value: Option<u64>| f64::from(u32::try_from(value.unwrap_or(0)).unwrap());
    let usage = &case.usage;
    let writes = count(usage.cache_write_5m) + count(usage.cache_write_1h);
    let their_usage = genai_prices::Usage::from([
        (UsageKey::INPUT_TOKENS, count(usage.input_uncached) + count(usage.cache_read) + writes),
        (UsageKey::CACHE_READ_TOKENS, count(usage.cache_read)),
        (UsageKey::CACHE_WRITE_TOKENS, writes),
        (UsageKey::CACHE_WRITE_1H_TOKENS, count(usage.cache_write_1h)),
        (UsageKey::OUTPUT_TOKENS, count(usage.output)),
        (UsageKey::OUTPUT_REASONING_TOKENS, count(usage.output_reasoning)),
    ]);
    let instant = UNIX_EPOCH.checked_add(Duration::from_secs(case.at.unsigned_abs())).unwrap();
    let request = PriceRequest::new(case.name, &their_usage)
        .with_provider_id(case.provider)
        .with_timestamp(instant);
    let request = match case.context {
        Some((key, value)) => request.with_price_context(key, value),
        None => request,
    };
    let dollars = genai_prices::calculate(&request).unwrap().total_price;
    round_usd(&dollars.to_string()).unwrap()
}

fn ours(case: &Case<'_>) -> Cost {
    let context = PriceContext {
        service_tier: case
            .context
            .filter(|(key, _)| *key == "service_tier")
            .map(|(_, tier)| tier.to_owned()),
        batch: case.context.is_some_and(|(key, _)| key == "processing"),
        ..PriceContext::default()
    };
    PRICES.price(&Query {
        provider: case.provider,
        operation: Operation::Chat,
        status: Some(200),
        request_model: Some(case.name),
        response_model: None,
        usage: &case.usage,
        quality: UsageQuality::Reported,
        context: &context,
        at_unix_seconds: case.at,
    })
}

#[test]
fn every_model_costs_what_the_source_reckons() {
    let mut random = Random(1);
    let (mut compared, mut different) = (0_u32, Vec::new());
    for (provider, model) in PRICES.table().models() {
        let name = model.sample_name();
        let turns = INSTANTS.iter().flat_map(|at| CONTEXTS.iter().map(|context| (*at, *context)));
        for (at, context) in turns
            .filter(|(at, context)| context.is_none_or(|(_, tier)| model.has_variant(tier, *at)))
        {
            let case = Case {
                provider,
                name: &name,
                row: &model.id,
                at,
                context,
                usage: made_up(&mut random),
            };
            let theirs = theirs(&case);
            let cost = ours(&case);
            let Some(ours) = cost.picodollars else {
                // Tokens of a row without token rates: free to the source, unknown to us.
                assert_eq!((theirs, cost.gap), (0, Some(Gap::Rate)), "{provider} {name}");
                continue;
            };
            compared = compared.saturating_add(1);
            let close = ours.abs_diff(theirs) <= theirs.unsigned_abs().div_ceil(PARTS);
            if !close && !known_difference(&case, &cost) {
                different.push(format!(
                    "{provider} {name} {context:?} at {at}: ours {ours}, theirs {theirs}"
                ));
            }
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    assert!(compared > 13_000, "only {compared} compared");
}
