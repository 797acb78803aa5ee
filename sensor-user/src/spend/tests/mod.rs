//! Calls as providers describe them come in; the price is compared with figures worked out by hand or by others.

mod read;
mod vectors;
mod rules;
mod bundle;
mod crosscheck;

use std::sync::LazyLock;

use crate::provider::Operation;
use crate::provider::PriceContext;
use crate::provider::Usage;
use crate::provider::UsageQuality;
use crate::spend::Cost;
use crate::spend::Prices;
use crate::spend::Query;
use crate::spend::format_usd;

static PRICES: LazyLock<Prices> = LazyLock::new(|| Prices::bundled().unwrap());

/// 2026-11-23T12:00:00Z, a Monday.
const NOON: i64 = 1_795_435_200;

/// A call under test, with what most calls have.
#[derive(Clone)]
struct Call<'a> {
    provider: &'a str,
    operation: Operation,
    status: Option<u16>,
    request_model: Option<&'a str>,
    response_model: Option<&'a str>,
    usage: Usage,
    quality: UsageQuality,
    context: PriceContext,
    at: i64,
}

impl<'a> Call<'a> {
    fn chat(provider: &'a str, model: &'a str, usage: Usage) -> Self {
        Self {
            provider,
            operation: Operation::Chat,
            status: Some(200),
            request_model: Some(model),
            response_model: Some(model),
            usage,
            quality: UsageQuality::Reported,
            context: PriceContext::default(),
            at: NOON,
        }
    }

    fn cost(&self) -> Cost {
        self.cost_by(&PRICES)
    }

    fn cost_by(&self, prices: &Prices) -> Cost {
        prices.price(&Query {
            provider: self.provider,
            operation: self.operation,
            status: self.status,
            request_model: self.request_model,
            response_model: self.response_model,
            usage: &self.usage,
            quality: self.quality,
            context: &self.context,
            at_unix_seconds: self.at,
        })
    }
}

/// Input tokens outside any cache, and output tokens.
fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_uncached: Some(input), output: Some(output), ..Usage::default() }
}

/// The amount in dollars, or `unknown`.
fn usd(cost: &Cost) -> String {
    cost.picodollars.map_or_else(|| "unknown".to_owned(), |amount| format_usd(i128::from(amount)))
}
