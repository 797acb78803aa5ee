//! The generated price table comes in as text; providers, models and their dated rows go out.

use crate::spend::Error;
use crate::spend::date::Day;
use crate::spend::date::PeakDay;
use crate::spend::date::Validity;
use crate::spend::date::Window;
use crate::spend::pattern;
use crate::spend::pattern::Pattern;
use crate::spend::rates::Rates;

/// The rows of one release of the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// Name and date of the release (`genai-prices-0.2.1@2026-10-30`).
    pub(super) release: String,
    providers: Vec<Provider>,
}

#[derive(Clone, Debug)]
struct Provider {
    id: Box<str>,
    /// Providers whose models this one also serves at the same standard rates.
    fallbacks: Vec<Box<str>>,
    models: Vec<Model>,
}

/// A model and its rates.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) id: Box<str>,
    patterns: Vec<Pattern>,
    prices: Vec<Row>,
    variants: Vec<Variant>,
}

#[derive(Clone, Debug)]
struct Row {
    when: Constraint,
    rates: Rates,
}

#[derive(Clone, Debug)]
struct Variant {
    /// `None` is the batch variant.
    tier: Option<Box<str>>,
    when: Constraint,
    rates: Rates,
}

#[derive(Clone, Copy, Debug, Default)]
struct Constraint {
    validity: Validity,
    window: Option<Window>,
}

impl Table {
    /// Reads the tab-separated rows.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut table = Self::default();
        for (index, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                table.push(line).map_err(|problem| Error {
                    source_name: "price table",
                    line: index.saturating_add(1),
                    problem,
                })?;
            }
        }
        for provider in &mut table.providers {
            provider.models.shrink_to_fit();
        }
        Ok(table)
    }

    fn push(&mut self, line: &str) -> Result<(), String> {
        let mut fields = line.split('\t');
        let (kind, first, second) =
            (fields.next(), fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        match kind {
            Some("release") => self.release = format!("{first}@{second}"),
            Some("provider") => self.providers.push(Provider {
                id: first.into(),
                fallbacks: second.split_whitespace().map(Into::into).collect(),
                models: Vec::new(),
            }),
            Some("model") => {
                let provider = self.providers.last_mut().ok_or("a model before any provider")?;
                let patterns = second.split_whitespace().map(Pattern::new).collect();
                provider.models.push(Model {
                    id: first.into(),
                    patterns,
                    prices: Vec::new(),
                    variants: Vec::new(),
                });
            }
            Some("price") => {
                let (when, condition) = constraint(first)?;
                if condition.is_some() {
                    return Err(format!("{first:?} does not belong to a price"));
                }
                self.model()?.prices.push(Row { when, rates: Rates::parse(second)? });
            }
            Some("variant") => {
                let (when, condition) = constraint(first)?;
                let condition = condition.ok_or("a variant without condition")?;
                let tier = condition.strip_prefix("tier=").map(Into::into);
                self.model()?.variants.push(Variant { tier, when, rates: Rates::parse(second)? });
            }
            other => return Err(format!("unknown row {other:?}")),
        }
        Ok(())
    }

    fn model(&mut self) -> Result<&mut Model, String> {
        let model = self.providers.last_mut().and_then(|provider| provider.models.last_mut());
        model.ok_or_else(|| "a price before any model".to_owned())
    }

    /// Whether the provider has rows.
    pub(super) fn knows(&self, provider: &str) -> bool {
        self.provider(provider).is_some()
    }

    fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| *provider.id == *id)
    }

    /// The first model that means this name (in lower case), and whether it is the provider's own row.
    pub(super) fn find(&self, provider: &str, name: &str) -> Option<(&Model, bool)> {
        let provider = self.provider(provider)?;
        let find = |name: &str| {
            provider.find(name).map(|model| (model, true)).or_else(|| {
                let mut others = provider.fallbacks.iter().filter_map(|id| self.provider(id));
                others.find_map(|other| other.find(name)).map(|model| (model, false))
            })
        };
        find(name).or_else(|| find(&pattern::with_full_dates(name)?))
    }

    /// All models with their providers.
    #[cfg(test)]
    pub(super) fn models(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.providers
            .iter()
            .flat_map(|provider| provider.models.iter().map(|model| (&*provider.id, model)))
    }
}

impl Provider {
    fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| pattern::any_of_kind(&model.patterns, &model.id, name))
    }
}

impl Model {
    /// A name that the model's first pattern means.
    #[cfg(test)]
    pub(super) fn sample_name(&self) -> String {
        self.patterns.first().map(Pattern::sample).unwrap_or_default()
    }

    /// Whether the model has rates of its own for a tier, or for `batch`.
    #[cfg(test)]
    pub(super) fn has_variant(&self, name: &str, unix_seconds: i64) -> bool {
        !self.variants(Some(name).filter(|name| *name != "batch"), unix_seconds).is_empty()
    }

    /// The rates at an instant: of the rows that hold, the last; hourly rows hold only on days that `peak` admits.
    /// Says also whether the calendar left that open.
    pub(super) fn standard(&self, unix_seconds: i64, peak: PeakDay) -> Option<(&Rates, bool)> {
        let holds = |row: &&Row| {
            row.when.validity.holds(unix_seconds)
                && row
                    .when
                    .window
                    .is_none_or(|window| peak != PeakDay::No && window.holds(unix_seconds))
        };
        let row = self.prices.iter().rev().find(holds).or_else(|| self.prices.first())?;
        Some((&row.rates, row.when.window.is_some() && peak == PeakDay::Perhaps))
    }

    /// The rates that a tier (`None`: a batch) puts over the standard ones, the stronger first.
    pub(super) fn variants(&self, tier: Option<&str>, unix_seconds: i64) -> Vec<&Rates> {
        let holds = |variant: &&Variant| {
            variant.tier.as_deref() == tier && variant.when.validity.holds(unix_seconds)
        };
        self.variants.iter().filter(holds).map(|variant| &variant.rates).collect()
    }
}

/// Reads `from=`, `at=` and one other word.
fn constraint(text: &str) -> Result<(Constraint, Option<&str>), String> {
    let mut constraint = Constraint::default();
    let mut condition = None;
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("from", date)) => {
                constraint.validity.from =
                    Some(Day::parse(date).ok_or_else(|| format!("bad date {date:?}"))?);
            }
            Some(("at", window)) => {
                constraint.window =
                    Some(Window::parse(window).ok_or_else(|| format!("bad time {window:?}"))?);
            }
            Some(("tier", _)) => condition = Some(word),
            None if word == "batch" => condition = Some(word),
            _ => return Err(format!("unknown word {word:?}")),
        }
    }
    Ok((constraint, condition))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "release\tx-1\t2026-01-01\nprovider\tp\tq\nmodel\tm\tm m-####-##-##\nprice\t\tinput=1\n\
        price\tfrom=1970-01-02\tinput=2\nprice\tat=01:00-02:00\tinput=4\nprovider\tq\t\nmodel\tn\tn*\nprice\t\tinput=3\n";

    fn input(table: &Table, name: &str, at: i64, peak: PeakDay) -> Rates {
        table.find("p", name).unwrap().0.standard(at, peak).unwrap().0.clone()
    }

    #[test]
    fn the_last_row_that_holds_is_used() {
        let table = Table::parse(ROWS).unwrap();
        assert_eq!(table.release, "x-1@2026-01-01");
        let rate = |dollars: u64| Rates::parse(&format!("input={dollars}")).unwrap();
        assert_eq!(input(&table, "m", 0, PeakDay::Yes), rate(1));
        assert_eq!(input(&table, "m", 86_400, PeakDay::Yes), rate(2));
        assert_eq!(input(&table, "m", 90_000, PeakDay::Yes), rate(4));
        assert_eq!(input(&table, "m", 90_000, PeakDay::No), rate(2));
    }

    #[test]
    fn other_providers_and_full_dates_are_tried_last() {
        let table = Table::parse(ROWS).unwrap();
        assert!(!table.find("p", "n-1").unwrap().1);
        assert!(table.find("p", "m-20260102").unwrap().1);
        assert!(table.find("q", "m").is_none());
        assert!(table.find("r", "m").is_none());
    }

    #[test]
    fn errors_name_the_line() {
        const CASES: &[(&str, usize)] = &[
            ("price\t\tinput=1", 1),
            ("# x\n\nmodel\tm\tm", 3),
            ("provider\tp\t\nmodel\tm\tm\nprice\tfrom=tomorrow\tinput=1", 3),
            ("provider\tp\t\nmodel\tm\tm\nvariant\t\tinput=1", 3),
            ("surprise\t\t", 1),
        ];
        for (text, line) in CASES {
            assert_eq!(Table::parse(text).unwrap_err().line, *line, "{text}");
        }
    }
}
