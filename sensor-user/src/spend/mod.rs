//! Usage and context of a call come in; its price in pico-dollars, and how it was found, go out.

mod decimal;
mod money;
mod date;
mod pattern;
mod rates;
mod meter;
mod table;
mod overrides;
mod offer;
mod prices;
mod estimate;
mod repeats;
#[cfg(test)]
mod tests;

pub use decimal::DecimalError;
pub use estimate::{Tokens, Traffic};
pub use money::{Total, format_usd, parse_usd, round_usd};
pub use prices::Prices;
pub use repeats::Repeats;

use std::sync::Arc;

use crate::provider::Call;
use crate::provider::Operation;
use crate::provider::PriceContext;
use crate::provider::Usage;
use crate::provider::UsageQuality;

/// How an amount was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Basis {
    /// From token counts that the provider reported (or its own amount) and known prices.
    Reported,
    /// Part of the facts is a lower bound or an estimate.
    Estimated,
    /// No price or no usage is known. The amount is absent, not zero.
    Unknown,
}

impl Basis {
    /// The word that events and metrics carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an amount is estimated or unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gap {
    /// No such provider in the price table.
    Provider,
    /// No such model at this provider.
    Model,
    /// The response names a model without a price; the one that was asked for was priced.
    OtherModel,
    /// The provider gave no token counts.
    Usage,
    /// A lower bound: the stream was cut, or a batch tells a sum that is above a tier of single requests.
    Partial,
    /// A count that every such call has is absent.
    Count,
    /// Parts are larger than their whole.
    Inconsistent,
    /// A token class, or something else that is metered, has no rate.
    Rate,
    /// The service tier, speed or batch has no rate: the standard one was used.
    Tier,
    /// The row itself says that its figures are disputed or vary.
    Disputed,
    /// The calendar of peak days ends before this date.
    Calendar,
    /// The connection could not be read: tokens are estimated from bytes and packets.
    Unseen,
    /// The amount does not fit.
    Overflow,
}

impl Gap {
    /// The label that metrics carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::OtherModel => "other_model",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Count => "count",
            Self::Inconsistent => "inconsistent",
            Self::Rate => "rate",
            Self::Tier => "tier",
            Self::Disputed => "disputed",
            Self::Calendar => "calendar",
            Self::Unseen => "unseen",
            Self::Overflow => "overflow",
        }
    }
}

/// The price of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Amount in 10^-12 US dollars; `None` where it is unknown.
    pub picodollars: Option<i64>,
    /// How it was found.
    pub basis: Basis,
    /// Why it is not `Reported`.
    pub gap: Option<Gap>,
    /// Which price table was used; `None` where none was needed.
    pub table: Option<Arc<str>>,
}

impl Cost {
    /// An amount that needs no table: free, or the provider's own figure.
    pub fn reported(picodollars: i64) -> Self {
        Self { picodollars: Some(picodollars), basis: Basis::Reported, gap: None, table: None }
    }

    /// No amount, and why.
    pub fn unknown(gap: Gap) -> Self {
        Self { picodollars: None, basis: Basis::Unknown, gap: Some(gap), table: None }
    }
}

/// All that decides the price of a call.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Key of the provider in the price table (`Call::price_provider`).
    pub provider: &'a str,
    /// What the call does; some operations are never billed.
    pub operation: Operation,
    /// HTTP status as which the call counts (`Call::outcome`); 300 and above is never billed.
    pub status: Option<u16>,
    /// Model asked for.
    pub request_model: Option<&'a str>,
    /// Model that answered; it wins.
    pub response_model: Option<&'a str>,
    /// Token counts.
    pub usage: &'a Usage,
    /// How far they can be trusted.
    pub quality: UsageQuality,
    /// Tier, batch, speed, place.
    pub context: &'a PriceContext,
    /// When the call was completed, in seconds since 1970-01-01 UTC: prices follow the time of completion.
    pub at_unix_seconds: i64,
}

impl<'a> Query<'a> {
    /// Asks for the price of a call that was completed at this time. Answers that repeat each other (`Call::repeated`)
    /// each get their price: `Repeats` counts one of them.
    pub fn of(call: &'a Call, at_unix_seconds: i64) -> Self {
        Self {
            provider: &call.price_provider,
            operation: call.operation,
            status: call.outcome(),
            request_model: call.request_model.as_deref(),
            response_model: call.response_model.as_deref(),
            usage: &call.usage,
            quality: call.usage_quality,
            context: &call.context,
            at_unix_seconds,
        }
    }
}

/// Why a price table was refused.
#[derive(Debug, thiserror::Error)]
#[error("reading {source_name}, line {line}: {problem}")]
pub struct Error {
    /// `price table` or `price overrides`.
    pub source_name: &'static str,
    /// Line, counted from one.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}
