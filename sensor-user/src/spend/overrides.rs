//! A TOML document with corrections of the price table comes in; typed rows, each with its dates, go out.

use crate::spend::Error;
use crate::spend::date::Calendar;
use crate::spend::date::Day;
use crate::spend::date::PeakDay;
use crate::spend::date::Validity;
use crate::spend::pattern;
use crate::spend::pattern::Pattern;
use crate::spend::rates::Class;
use crate::spend::rates::Rates;

/// Corrections; where two documents speak of one thing, the later wins.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Overrides {
    /// Rates of a model, in place of the table's.
    pub(super) price: Vec<Price>,
    /// Rates for classes that a model's own rows leave out.
    pub(super) fill: Vec<Fill>,
    /// A class priced as a multiple of another.
    pub(super) derive: Vec<Derive>,
    /// Least amounts that are billed.
    pub(super) minimum: Vec<Minimum>,
    /// Largest amounts that are billed.
    pub(super) maximum: Vec<Maximum>,
    /// Multiples of all token rates under a condition.
    pub(super) factor: Vec<Factor>,
    /// Days on which hourly rows apply.
    pub(super) calendar: Vec<CalendarRow>,
}

/// Whom a row speaks of, since when, and who says so.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $vis:vis $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            provider: String,
            /// Globs of model names; none means all.
            #[serde(default)]
            models: Vec<Pattern>,
            from: Option<Day>,
            to: Option<Day>,
            /// Where the figure was read; stands in the file for its reader.
            #[serde(rename = "source", default)]
            _source: String,
            /// When it was read; the same.
            #[serde(rename = "checked")]
            _checked: Option<Day>,
            $($(#[$field_doc])* $vis $field: $type,)*
        }

        impl $name {
            /// Whether the row speaks of this provider and model (in lower case) at this instant.
            pub(super) fn covers(&self, provider: &str, model: &str, unix_seconds: i64) -> bool {
                let validity = Validity { from: self.from, to: self.to };
                self.is_about(provider, model) && validity.holds(unix_seconds)
            }

            /// Whether the row speaks of this provider and model at any time.
            pub(super) fn is_about(&self, provider: &str, model: &str) -> bool {
                self.provider == provider && (self.models.is_empty() || pattern::any(&self.models, model))
            }
        }
    };
}

row! {
    /// Rates of a model.
    Price { pub(super) rates: Rates, }
}
row! {
    /// Rates used where the model's row has none for the class.
    Fill { pub(super) rates: Rates, }
}
row! {
    /// `class` costs `factor` times `of`, unless it has its own rate.
    Derive { class: String, of: String, #[serde(rename = "factor")]
        pub(super) ratio: Ratio, }
}
row! {
    /// A shorter file is billed as one of this length.
    Minimum { pub(super) audio_millis: u64, }
}
row! {
    /// An answer is billed for so many searches, however many were made for it.
    Maximum { pub(super) web_searches: u64, }
}
row! {
    /// All token rates times `factor`, when any of `when` holds.
    Factor {
        when: Vec<When>,
        #[serde(rename = "factor")]
        pub(super) ratio: Ratio,
        /// Only for these rows of the table, where one model has several.
        #[serde(default)]
        rows: Vec<Pattern>,
        /// Sources disagree, or the figure varies.
        #[serde(default)]
        pub(super) estimated: bool,
    }
}
row! {
    /// Days on which hourly rows apply.
    CalendarRow {
        #[serde(default)]
        weekdays_only: bool,
        #[serde(default)]
        holidays: Vec<Day>,
        holidays_end: Option<Day>,
    }
}

/// A condition of a factor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) enum When {
    Always,
    Batch,
    Tier(String),
    Speed(String),
    Geo(Pattern),
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "always" => Ok(Self::Always),
            None if text == "batch" => Ok(Self::Batch),
            Some(("tier", tier)) => Ok(Self::Tier(tier.to_owned())),
            Some(("speed", speed)) => Ok(Self::Speed(speed.to_owned())),
            Some(("geo", geo)) => Ok(Self::Geo(Pattern::new(geo))),
            _ => Err(format!("{text:?} is none of always, batch, tier=…, speed=…, geo=…")),
        }
    }
}

/// A fraction above zero, written `11/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Ratio {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

impl TryFrom<String> for Ratio {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((numerator, denominator)) if numerator > 0 && denominator > 0 => {
                Ok(Self { numerator, denominator })
            }
            _ => Err(format!("{text:?} is not a fraction like 11/10")),
        }
    }
}

impl Price {
    /// Whether the row speaks of this provider at all.
    pub(super) fn is_of(&self, provider: &str) -> bool {
        self.provider == provider
    }
}

impl Factor {
    /// Whether the row holds for this row of the table under this condition.
    pub(super) fn applies(&self, row: &str, holds: impl Fn(&When) -> bool) -> bool {
        (self.rows.is_empty() || pattern::any(&self.rows, row)) && self.when.iter().any(holds)
    }
}

impl Derive {
    /// Whether `class` is what the row gives a rate to; if so, the class it is made from.
    pub(super) fn source_of(&self, class: Class) -> Option<Class> {
        if Class::parse(&self.class)? == class { Class::parse(&self.of) } else { None }
    }
}

impl CalendarRow {
    /// What this row says of the day; nothing outside its dates.
    pub(super) fn peak(&self, unix_seconds: i64) -> PeakDay {
        Calendar {
            weekdays_only: self.weekdays_only,
            holidays: &self.holidays,
            holidays_end: self.holidays_end,
        }
        .peak(unix_seconds)
    }
}

impl Overrides {
    /// Reads a document; the error names the line.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |line, problem| Error { source_name: "price overrides", line, problem };
        let overrides: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line =
                text.bytes().take(start).filter(|byte| *byte == b'\n').count().saturating_add(1);
            refuse(line, error.message().to_owned())
        })?;
        for derive in &overrides.derive {
            if Class::parse(&derive.class).is_none() || Class::parse(&derive.of).is_none() {
                return Err(refuse(
                    1,
                    format!("unknown rate {:?} or {:?}", derive.class, derive.of),
                ));
            }
        }
        for price in &overrides.price {
            if price.models.is_empty() {
                return Err(refuse(1, format!("a price of {:?} names no models", price.provider)));
            }
        }
        Ok(overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line() {
        const CASES: &[(&str, usize)] = &[
            ("[[price]]\nprovider = 'p'\nmodels = ['m']\nrates = 'inptu=1'\n", 4),
            ("[[factor]]\nprovider = 'p'\nwhen = ['batch']\nfactor = '1/0'\n", 4),
            ("[[factor]]\nprovider = 'p'\nwhen = ['sometimes']\nfactor = '1/2'\n", 3),
            ("\n\n[[prize]]\n", 3),
            ("[[calendar]]\nprovider = 'p'\nholidays = ['2026-02-30']\n", 3),
        ];
        for (text, line) in CASES {
            let error = Overrides::parse(text).unwrap_err();
            assert_eq!(error.line, *line, "{error}");
        }
        assert!(Overrides::parse("[[price]]\nprovider = 'p'\nrates = 'input=1'\n").is_err());
        assert!(
            Overrides::parse("[[derive]]\nprovider='p'\nclass='x'\nof='input'\nfactor='1/2'\n")
                .is_err()
        );
    }

    #[test]
    fn rows_cover_their_provider_models_and_dates() {
        let text = "[[price]]\nprovider='p'\nmodels=['m-*']\nfrom='1970-01-02'\nto='1970-01-03'\nrates='input=1'\n";
        let overrides = Overrides::parse(text).unwrap();
        let row = overrides.price.first().unwrap();
        assert!(row.covers("p", "m-1", 86_400));
        assert!(
            !row.covers("q", "m-1", 86_400)
                && !row.covers("p", "n", 86_400)
                && !row.covers("p", "m-1", 0)
        );
        assert!(row.is_about("p", "m-1") && row.is_of("p") && !row.is_of("q"));
    }
}
