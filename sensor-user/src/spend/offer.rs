//! A call and the price rows come in; the rates, the multiplier and the doubts that hold for it go out.

use crate::provider::Operation;
use crate::spend::Gap;
use crate::spend::Query;
use crate::spend::date::PeakDay;
use crate::spend::decimal::divide_half_even;
use crate::spend::meter;
use crate::spend::meter::Count;
use crate::spend::overrides::Factor;
use crate::spend::overrides::Overrides;
use crate::spend::overrides::When;
use crate::spend::pattern::MODEL_NAME_BYTES_MAX;
use crate::spend::rates::Class;
use crate::spend::rates::Rates;
use crate::spend::table::Model;
use crate::spend::table::Table;

/// Providers whose price hangs on the name that was asked for: a Bedrock profile (`us.…`, `global.…`) is a price of
/// its own, and the answer names only the model behind it.
const REQUEST_NAME_DECIDES: &[&str] = &["aws"];

/// The provider whose rows list an audio rate wherever it differs from that of text.
const AUDIO_RATES_COMPLETE: &[&str] = &["google"];

/// Words for the standard tier; `auto` in an answer says only that none was asked for.
const STANDARD_TIERS: &[&str] =
    &["", "default", "standard", "auto", "on_demand", "traffic_type_unspecified"];

/// The tables an offer is made from, the later correction first in rank.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) table: &'a Table,
    pub(super) overrides: &'a [Overrides],
}

/// The rates of one call.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    query: &'a Query<'a>,
    model: String,
    overrides: &'a [Overrides],
    /// Rates by rank: a variant's, the row's, then those that fill what the row leaves out.
    layers: Vec<&'a Rates>,
    /// Multiplier of all token rates.
    pub(super) numerator: u64,
    pub(super) denominator: u64,
    pub(super) free: bool,
    pub(super) gap: Option<Gap>,
}

struct Row<'a> {
    id: &'a str,
    standard: &'a Rates,
    /// Whose variants apply: the provider's own row only.
    model: Option<&'a Model>,
    calendar_ended: bool,
}

impl<'a> Offer<'a> {
    /// Finds the rates; the error says what is not in the tables.
    pub(super) fn find(sources: Sources<'a>, query: &'a Query<'a>) -> Result<Self, Gap> {
        let of_provider =
            |row: &Overrides| row.price.iter().any(|price| price.is_of(query.provider));
        if !sources.table.knows(query.provider) && !sources.overrides.iter().any(of_provider) {
            return Err(Gap::Provider);
        }
        let mut names = [query.response_model, query.request_model];
        if REQUEST_NAME_DECIDES.contains(&query.provider) {
            names.reverse();
        }
        let names = names
            .into_iter()
            .flatten()
            .filter(|name| name.len() <= MODEL_NAME_BYTES_MAX)
            .map(|name| plain(query.provider, name.to_lowercase()));
        let mut rows = names
            .enumerate()
            .filter_map(|(rank, name)| Some((rank, find_row(sources, query, &name)?, name)));
        let (rank, row, model) = rows.next().ok_or(Gap::Model)?;
        let gap = if rank > 0 {
            Some(Gap::OtherModel)
        } else {
            row.calendar_ended.then_some(Gap::Calendar)
        };
        let mut offer = Self {
            query,
            model,
            overrides: sources.overrides,
            layers: Vec::new(),
            numerator: 1,
            denominator: 1,
            free: row.standard.is_free(),
            gap,
        };
        offer.apply_context(&row);
        let fills = sources.overrides.iter().rev().flat_map(|document| document.fill.iter().rev());
        let fills =
            fills.filter(|fill| fill.covers(query.provider, &offer.model, query.at_unix_seconds));
        offer.layers.push(row.standard);
        offer.layers.extend(fills.map(|fill| &fill.rates));
        Ok(offer)
    }

    /// Chooses variants and multipliers by tier, batch, speed and place.
    fn apply_context(&mut self, row: &Row<'a>) {
        let context = self.query.context;
        let tier = tier(context.service_tier.as_deref());
        let batch = context.batch
            || self.query.operation == Operation::Batch
            || tier.as_deref() == Some("batch");
        if batch || tier.is_some() {
            let name = if batch { None } else { tier.as_deref() };
            let at = self.query.at_unix_seconds;
            self.layers = row.model.map(|model| model.variants(name, at)).unwrap_or_default();
            if self.layers.is_empty() {
                self.multiply(row, Some(Gap::Tier), |when| match (when, name) {
                    (When::Batch, None) => true,
                    (When::Tier(known), Some(name)) => known == name,
                    _ => false,
                });
            }
        }
        let speed = context
            .speed
            .as_deref()
            .filter(|speed| !matches!(*speed, "" | "standard" | "normal" | "default"));
        if let Some(speed) = speed {
            self.multiply(
                row,
                Some(Gap::Tier),
                |when| matches!(when, When::Speed(known) if known == speed),
            );
        }
        if let Some(geo) =
            context.geo.as_deref().filter(|geo| !geo.is_empty()).map(str::to_lowercase)
        {
            self.multiply(
                row,
                None,
                |when| matches!(when, When::Geo(known) if known.matches(&geo)),
            );
        }
        self.multiply(row, None, |when| *when == When::Always);
    }

    fn multiply(
        &mut self,
        row: &Row<'a>,
        otherwise: Option<Gap>,
        holds: impl Fn(&When) -> bool + Copy,
    ) {
        let rows = self.overrides.iter().rev().flat_map(|document| document.factor.iter().rev());
        let covers = |factor: &&Factor| {
            factor.covers(self.query.provider, &self.model, self.query.at_unix_seconds)
                && factor.applies(row.id, holds)
        };
        let Some(row) = rows.into_iter().find(covers) else {
            self.gap = self.gap.or(otherwise);
            return;
        };
        self.numerator = self.numerator.saturating_mul(u64::from(row.ratio.numerator));
        self.denominator = self.denominator.saturating_mul(u64::from(row.ratio.denominator));
        if row.estimated {
            self.gap = self.gap.or(Some(Gap::Disputed));
        }
    }

    /// The rate of a count in 10^-18 dollars, and whether it is another class's for want of an own.
    pub(super) fn rate(&self, class: Class, total_input: u64) -> Option<(u64, bool)> {
        let mut classes = meter::rate_classes(class).iter();
        classes.find_map(|candidate| {
            let rate = self
                .own_rate(*candidate, total_input)
                .or_else(|| self.derived_rate(*candidate, total_input))?;
            Some((rate, self.is_stand_in(class, *candidate)))
        })
    }

    /// The amount that is billed for a count.
    pub(super) fn billed(&self, count: Count) -> u64 {
        let (provider, at) = (self.query.provider, self.query.at_unix_seconds);
        let documents = || self.overrides.iter().rev();
        match count.class {
            Class::InputAudioHours => {
                let mut rows = documents().flat_map(|document| document.minimum.iter().rev());
                let row = rows.find(|row| row.covers(provider, &self.model, at));
                row.map_or(count.amount, |row| count.amount.max(row.audio_millis))
            }
            Class::WebSearch => {
                let mut rows = documents().flat_map(|document| document.maximum.iter().rev());
                let row = rows.find(|row| row.covers(provider, &self.model, at));
                row.map_or(count.amount, |row| count.amount.min(row.web_searches))
            }
            _ => count.amount,
        }
    }

    /// The rate of the class itself, without one that stands in for it.
    pub(super) fn own_rate(&self, class: Class, total_input: u64) -> Option<u64> {
        self.layers.iter().find_map(|rates| rates.rate(class)).map(|rate| rate.of(total_input))
    }

    fn derived_rate(&self, class: Class, total_input: u64) -> Option<u64> {
        let rows = self.overrides.iter().rev().flat_map(|document| document.derive.iter().rev());
        let mut rows = rows
            .filter(|row| row.covers(self.query.provider, &self.model, self.query.at_unix_seconds));
        let (of, ratio) = rows.find_map(|row| Some((row.source_of(class)?, row.ratio)))?;
        let rate =
            i128::from(self.own_rate(of, total_input)?).checked_mul(i128::from(ratio.numerator))?;
        u64::try_from(divide_half_even(rate, i128::from(ratio.denominator))?).ok()
    }

    /// Long-lived cache writes and audio cost more than what stands in for them.
    fn is_stand_in(&self, class: Class, used: Class) -> bool {
        match class {
            Class::CacheWrite1h | Class::CacheWrite12h => used == Class::CacheWrite,
            Class::InputAudio | Class::OutputAudio => {
                used != class && !AUDIO_RATES_COMPLETE.contains(&self.query.provider)
            }
            _ => false,
        }
    }
}

fn find_row<'a>(sources: Sources<'a>, query: &Query<'_>, name: &str) -> Option<Row<'a>> {
    let prices = sources.overrides.iter().rev().flat_map(|document| document.price.iter().rev());
    let mut prices =
        prices.filter(|price| price.covers(query.provider, name, query.at_unix_seconds));
    if let Some(price) = prices.next() {
        return Some(Row { id: "", standard: &price.rates, model: None, calendar_ended: false });
    }
    let (model, own) = sources.table.find(query.provider, name)?;
    // Hourly rows are a habit of the vendor's own service, not of those who host its models.
    let peak = if own { peak(sources.overrides, query, name) } else { PeakDay::No };
    let (standard, calendar_ended) = model.standard(query.at_unix_seconds, peak)?;
    Some(Row { id: &model.id, standard, model: own.then_some(model), calendar_ended })
}

/// The name without what Google's interfaces put before it: `models/…`, `publishers/google/models/…`, `google/…`.
fn plain(provider: &str, name: String) -> String {
    if provider != "google" {
        return name;
    }
    let short = name.rsplit_once("/models/").map_or(&*name, |(_, short)| short);
    let short = short.strip_prefix("models/").unwrap_or(short);
    short.strip_prefix("google/").unwrap_or(short).to_owned()
}

/// Whether hourly rows apply on the day: every day where no calendar speaks of the model.
fn peak(overrides: &[Overrides], query: &Query<'_>, name: &str) -> PeakDay {
    let rows = overrides.iter().flat_map(|document| &document.calendar);
    let mut rows = rows.filter(|row| row.is_about(query.provider, name)).peekable();
    if rows.peek().is_none() {
        return PeakDay::Yes;
    }
    let at = query.at_unix_seconds;
    let mut days = rows.filter(|row| row.covers(query.provider, name, at)).map(|row| row.peak(at));
    days.find(|day| *day != PeakDay::No).unwrap_or(PeakDay::No)
}

/// The tier in one spelling; `None` is the standard one. Vertex writes `ON_DEMAND_FLEX`.
fn tier(raw: Option<&str>) -> Option<String> {
    let tier = raw?.to_lowercase();
    let tier = tier.strip_prefix("on_demand_").unwrap_or(&tier);
    (!STANDARD_TIERS.contains(&tier)).then(|| tier.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_google_lose_what_stands_before_them() {
        const CASES: &[(&str, &str, &str)] = &[
            ("google", "gemini-9", "gemini-9"),
            ("google", "google/gemini-9", "gemini-9"),
            ("google", "models/gemini-9", "gemini-9"),
            ("google", "publishers/google/models/gemini-9", "gemini-9"),
            ("google", "projects/p/locations/l/publishers/anthropic/models/claude-9", "claude-9"),
            ("google", "meta/llama-9-maas", "meta/llama-9-maas"),
            ("google", "tunedmodels/mine", "tunedmodels/mine"),
            ("openrouter", "google/gemini-9", "google/gemini-9"),
        ];
        for (provider, name, expected) in CASES {
            assert_eq!(plain(provider, (*name).to_owned()), *expected, "{provider} {name}");
        }
    }

    #[test]
    fn tiers_have_one_spelling() {
        const CASES: &[(Option<&str>, Option<&str>)] = &[
            (None, None),
            (Some("default"), None),
            (Some("auto"), None),
            (Some("ON_DEMAND"), None),
            (Some("ON_DEMAND_PRIORITY"), Some("priority")),
            (Some("flex"), Some("flex")),
            (Some("PROVISIONED_THROUGHPUT"), Some("provisioned_throughput")),
        ];
        for (raw, expected) in CASES {
            assert_eq!(tier(*raw).as_deref(), *expected, "{raw:?}");
        }
    }
}
