//! A query comes in; its cost by the bundled price table and the corrections over it goes out.

use std::fmt::Write;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;

use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::spend::Basis;
use crate::spend::Cost;
use crate::spend::Error;
use crate::spend::Gap;
use crate::spend::Query;
use crate::spend::decimal::divide_half_even;
use crate::spend::meter;
use crate::spend::meter::Reading;
use crate::spend::offer::Offer;
use crate::spend::offer::Sources;
use crate::spend::overrides::Overrides;
use crate::spend::rates::Class;
use crate::spend::table::Table;

/// The generated rows.
pub(super) const BUNDLED_TABLE: &str = include_str!("../../data/prices/genai-prices.tsv");

/// Our corrections to them.
pub(super) const BUNDLED_OVERRIDES: &str = include_str!("../../data/prices/overrides.toml");

/// Bytes of the digest that stand in the table's id.
const ID_DIGEST_BYTES: usize = 6;

/// 10^-18 dollars in a pico-dollar.
const ATTO_PER_PICO: i128 = 1_000_000;

/// First HTTP status that means nothing was made, hence nothing is billed.
const STATUS_UNBILLED_MIN: u16 = 300;

/// The price table with all corrections.
#[derive(Clone, Debug)]
pub struct Prices {
    table: Table,
    overrides: Vec<Overrides>,
    digest: [u8; 32],
    id: Arc<str>,
}

impl Prices {
    /// Reads the table and corrections that the program carries; takes milliseconds.
    pub fn bundled() -> Result<Self, Error> {
        Self::parse(BUNDLED_TABLE)?.with_overrides(BUNDLED_OVERRIDES)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let table = Table::parse(text)?;
        let mut prices = Self {
            table,
            overrides: Vec::new(),
            digest: Sha256::digest(text).into(),
            id: Arc::from(""),
        };
        prices.name();
        Ok(prices)
    }

    /// Puts a document of corrections over all rows; the error names the line.
    pub fn with_overrides(mut self, text: &str) -> Result<Self, Error> {
        self.overrides.push(Overrides::parse(text)?);
        self.digest = Sha256::new().chain_update(self.digest).chain_update(text).finalize().into();
        self.name();
        Ok(self)
    }

    fn name(&mut self) {
        let mut id = format!("{}#", self.table.release);
        for byte in self.digest.iter().take(ID_DIGEST_BYTES) {
            if write!(id, "{byte:02x}").is_err() {
                break;
            }
        }
        self.id = Arc::from(id);
    }

    /// Release, date and digest of all rows and corrections (`genai-prices-0.2.1@2026-10-30#0011aabbccdd`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Prices one call. Order of trust: not billed at all, the provider's own figure, the table.
    pub fn price(&self, query: &Query<'_>) -> Cost {
        if is_unbilled(query) {
            return Cost::reported(0);
        }
        if query.context.unread {
            return Cost::unknown(Gap::Usage);
        }
        let partial = query.quality == UsageQuality::Partial;
        let own = query.usage.reported_picodollars;
        match own {
            Some(amount) if !partial => Cost::reported(amount),
            _ => match self.by_table(query) {
                // Both are lower bounds: the figure of an interim chunk, and the tokens seen so far.
                cost if partial && own > cost.picodollars => Cost {
                    picodollars: own,
                    basis: Basis::Estimated,
                    gap: Some(Gap::Partial),
                    table: None,
                },
                cost => cost,
            },
        }
    }

    fn by_table(&self, query: &Query<'_>) -> Cost {
        let sources = Sources { table: &self.table, overrides: &self.overrides };
        let offer = match Offer::find(sources, query) {
            Ok(offer) => offer,
            Err(gap) => return Cost::unknown(gap),
        };
        let reading = match query.quality {
            UsageQuality::Missing => None,
            UsageQuality::Reported | UsageQuality::Partial => {
                meter::read(query.usage, query.operation)
            }
        };
        let result = match reading {
            Some(reading) => charge(&offer, &reading, query),
            None if offer.free => Ok((0, None)),
            None => Err(Gap::Usage),
        };
        let (amount, gap) = match result {
            Ok(result) => result,
            Err(gap) => return Cost::unknown(gap),
        };
        let gap = if query.quality == UsageQuality::Partial { Some(Gap::Partial) } else { gap };
        let basis = if gap.is_some() { Basis::Estimated } else { Basis::Reported };
        Cost { picodollars: Some(amount), basis, gap, table: Some(Arc::clone(&self.id)) }
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

fn is_unbilled(query: &Query<'_>) -> bool {
    if query.status.is_some_and(|status| status >= STATUS_UNBILLED_MIN) {
        return true;
    }
    match query.operation {
        _ if query.context.unread => false,
        Operation::CountTokens | Operation::Files | Operation::Models => true,
        // Making and polling a batch is free; its results carry usage, and that is what is billed.
        Operation::Batch => meter::read(query.usage, query.operation).is_none(),
        _ => false,
    }
}

/// The amount of all counts in pico-dollars, and what is doubtful about it.
fn charge(
    offer: &Offer<'_>,
    reading: &Reading,
    query: &Query<'_>,
) -> Result<(i64, Option<Gap>), Gap> {
    let (total_input, unsure) = tier_input(offer, reading, query.operation);
    let mut gap = offer.gap.or(reading.gap).or(unsure);
    if has_unsplit_parts(offer, query) {
        gap = gap.or(Some(Gap::Rate));
    }
    let own = |class| offer.own_rate(class, total_input);
    let (mut tokens, mut pieces) = (0_i128, own(Class::Request).map_or(0, i128::from));
    let is_timed = query.usage.audio_millis.is_some() && own(Class::InputAudioHours).is_some();
    let all_pictures =
        query.operation == Operation::ImageGeneration && query.usage.output_image.is_none();
    for count in reading.counts.iter().filter(|count| count.amount > 0) {
        let class = if all_pictures && count.class == Class::Output {
            Class::OutputImage
        } else {
            count.class
        };
        let Some((rate, stand_in)) = offer.rate(class, total_input) else {
            match class {
                // Embeddings and the like: only input is charged.
                Class::Output | Class::OutputReasoning if own(Class::Input).is_some() => {}
                _ if offer.free => {}
                // Where sound is billed by its length, the tokens it makes are not.
                Class::Input | Class::CacheRead | Class::Output if is_timed => {}
                // What was searched or sent comes on top of tokens that have their price.
                Class::WebSearch | Class::FileSearch | Class::InputAudioHours
                    if own(Class::Input).is_some() =>
                {
                    gap = gap.or(Some(Gap::Rate));
                }
                _ => return Err(Gap::Rate),
            }
            continue;
        };
        if stand_in {
            gap = gap.or(Some(Gap::Rate));
        }
        let amount =
            i128::from(offer.billed(*count)).checked_mul(i128::from(rate)).ok_or(Gap::Overflow)?;
        let (sum, amount) = match class {
            Class::InputAudioHours => (&mut pieces, hours(amount).ok_or(Gap::Overflow)?),
            Class::WebSearch | Class::FileSearch | Class::SearchUnit | Class::Pages => {
                (&mut pieces, amount)
            }
            _ => (&mut tokens, amount),
        };
        *sum = sum.checked_add(amount).ok_or(Gap::Overflow)?;
    }
    let amount = total(offer, tokens, pieces).ok_or(Gap::Overflow)?;
    Ok((amount, gap))
}

/// The input that picks the tier, and what is doubtful about that. A tier holds for one request, and a batch tells the
/// sum of all its requests: that picks none, which makes a lower bound where the sum is above one.
fn tier_input(offer: &Offer<'_>, reading: &Reading, operation: Operation) -> (u64, Option<Gap>) {
    let sum = reading.total_input;
    if operation != Operation::Batch {
        return (sum, None);
    }
    let mut counts = reading.counts.iter().filter(|count| count.amount > 0);
    let is_above = counts.any(|count| offer.rate(count.class, sum) != offer.rate(count.class, 0));
    (0, is_above.then_some(Gap::Partial))
}

/// Whether the row has a rate for a part that the counts do not show: the whole is then charged at another rate.
fn has_unsplit_parts(offer: &Offer<'_>, query: &Query<'_>) -> bool {
    let has = |class| offer.own_rate(class, 0).is_some();
    let connected_time = has(Class::AudioHours)
        && !has(Class::InputAudioHours)
        && query.usage.audio_millis.is_none();
    let cached_pictures = has(Class::CacheReadImage)
        && query.usage.cache_read_image.is_none()
        && query.usage.cache_read.is_some_and(|tokens| tokens > 0);
    let pictures = has(Class::OutputImage) && query.usage.output_image.is_none();
    connected_time || cached_pictures || pictures || has(Class::Unmetered)
}

/// Milliseconds times 10^-12 dollars an hour, in 10^-18 dollars: 10^6 / 3,600,000 is 5 / 18.
fn hours(amount: i128) -> Option<i128> {
    divide_half_even(amount.checked_mul(5)?, 18)
}

/// Multipliers hold for tokens only; all is rounded once, half to even.
fn total(offer: &Offer<'_>, tokens: i128, pieces: i128) -> Option<i64> {
    let (numerator, denominator) = (i128::from(offer.numerator), i128::from(offer.denominator));
    let sum = tokens.checked_mul(numerator)?.checked_add(pieces.checked_mul(denominator)?)?;
    i64::try_from(divide_half_even(sum, denominator.checked_mul(ATTO_PER_PICO)?)?).ok()
}
