//! The rate words of a price row come in; the rate of a class of tokens, by the size of the input, goes out.

use crate::spend::decimal::Decimal;

/// What a rate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Input,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    CacheWrite12h,
    Output,
    InputAudio,
    CacheReadAudio,
    OutputAudio,
    InputImage,
    CacheReadImage,
    OutputImage,
    OutputReasoning,
    WebSearch,
    FileSearch,
    Request,
    SearchUnit,
    Pages,
    /// Per hour of connected audio.
    AudioHours,
    /// Per hour of audio that was sent.
    InputAudioHours,
    /// Billed by something that usage does not carry (characters, annotated pages, video).
    Unmetered,
}

/// Name in the rows, class, and decimal places that turn its unit into 10^-18 dollars a piece: 12 for dollars per
/// million tokens, 15 for dollars per thousand pieces. Both keep every published rate exact in a `u64`. An hourly rate
/// is kept in 10^-12 dollars an hour.
const CLASSES: &[(&str, Class, i32)] = &[
    ("input", Class::Input, 12),
    ("cache_read", Class::CacheRead, 12),
    ("cache_write", Class::CacheWrite, 12),
    ("cache_write_1h", Class::CacheWrite1h, 12),
    ("cache_write_12h", Class::CacheWrite12h, 12),
    ("output", Class::Output, 12),
    ("input_audio", Class::InputAudio, 12),
    ("cache_read_audio", Class::CacheReadAudio, 12),
    ("output_audio", Class::OutputAudio, 12),
    ("input_image", Class::InputImage, 12),
    ("cache_read_image", Class::CacheReadImage, 12),
    ("output_image", Class::OutputImage, 12),
    ("output_reasoning", Class::OutputReasoning, 12),
    ("web_search", Class::WebSearch, 15),
    ("file_search", Class::FileSearch, 15),
    ("request", Class::Request, 15),
    ("search_unit", Class::SearchUnit, 15),
    ("input_pages", Class::Pages, 15),
    ("audio_hours", Class::AudioHours, 12),
    ("input_audio_hours", Class::InputAudioHours, 12),
    ("input_video", Class::Unmetered, 12),
    ("output_video", Class::Unmetered, 12),
    ("output_citation", Class::Unmetered, 12),
    ("input_annotated_pages", Class::Unmetered, 12),
    ("input_chars", Class::Unmetered, 12),
    ("input_messages", Class::Unmetered, 12),
];

impl Class {
    pub(super) fn parse(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(known, ..)| *known == name).map(|(_, class, _)| *class)
    }
}

/// 10^-18 dollars a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    base: u64,
    /// Input sizes above which another rate holds for the whole request, in rising order.
    tiers: Vec<(u64, u64)>,
}

impl Rate {
    /// The rate of a request with this many input tokens, cached ones included.
    pub(super) fn of(&self, total_input: u64) -> u64 {
        self.tiers
            .iter()
            .rev()
            .find(|(start, _)| total_input > *start)
            .map_or(self.base, |(_, rate)| *rate)
    }

    fn is_zero(&self) -> bool {
        self.base == 0 && self.tiers.iter().all(|(_, rate)| *rate == 0)
    }
}

/// The rates of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Rates(Vec<(Class, Rate)>);

impl TryFrom<String> for Rates {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Rates {
    /// Reads `input=2>272000:4 output=10`: a rate, and after `>` the rate above that many input tokens.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rates = Vec::new();
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("{word:?} is not name=rate"))?;
            let (_, class, scale) = CLASSES
                .iter()
                .find(|(known, ..)| *known == name)
                .ok_or_else(|| format!("unknown rate {name:?}"))?;
            if *class != Class::Unmetered && rates.iter().any(|(known, _)| known == class) {
                return Err(format!("{name} stands twice"));
            }
            rates.push((*class, rate(value, *scale)?));
        }
        rates.shrink_to_fit();
        Ok(Self(rates))
    }

    pub(super) fn rate(&self, class: Class) -> Option<&Rate> {
        self.0.iter().find(|(known, _)| *known == class).map(|(_, rate)| rate)
    }

    /// Whether the row says that nothing is charged.
    pub(super) fn is_free(&self) -> bool {
        self.0.iter().all(|(_, rate)| rate.is_zero())
    }
}

fn rate(text: &str, scale: i32) -> Result<Rate, String> {
    let (base, tiers) =
        text.split_once('>').map_or((text, None), |(base, tiers)| (base, Some(tiers)));
    let mut rate = Rate { base: atto(base, scale)?, tiers: Vec::new() };
    for tier in tiers.into_iter().flat_map(|tiers| tiers.split('>')) {
        let (start, value) =
            tier.split_once(':').ok_or_else(|| format!("tier {tier:?} is not tokens:rate"))?;
        let start: u64 = start
            .parse()
            .map_err(|error: std::num::ParseIntError| format!("tier {tier:?}: {error}"))?;
        if rate.tiers.last().is_some_and(|(last, _)| *last >= start) {
            return Err(format!("tier {tier:?} is out of order"));
        }
        rate.tiers.push((start, atto(value, scale)?));
    }
    Ok(rate)
}

fn atto(text: &str, scale: i32) -> Result<u64, String> {
    let value = Decimal::parse(text).and_then(|rate| rate.scaled_closely(scale));
    let value = value.map_err(|error| format!("rate {text:?}: {error}"))?;
    u64::try_from(value)
        .map_err(|_range: std::num::TryFromIntError| format!("rate {text:?} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tier_holds_strictly_above_its_start() {
        const CASES: &[(u64, u64)] =
            &[(0, 2), (272_000, 2), (272_001, 4), (500_000, 4), (500_001, 8), (u64::MAX, 8)];
        let rates = Rates::parse("input=2>272000:4>500000:8 web_search=10").unwrap();
        let input = rates.rate(Class::Input).unwrap();
        for (total, dollars) in CASES {
            assert_eq!(input.of(*total), dollars.saturating_mul(1_000_000_000_000), "{total}");
        }
        assert_eq!(rates.rate(Class::WebSearch).unwrap().of(0), 10_000_000_000_000_000);
        assert_eq!(rates.rate(Class::Output), None);
    }

    #[test]
    fn a_row_of_zeros_is_free() {
        assert!(Rates::parse("").unwrap().is_free());
        assert!(Rates::parse("input=0 output=0").unwrap().is_free());
        assert!(!Rates::parse("input=0 audio_hours=3").unwrap().is_free());
    }

    #[test]
    fn malformed_rates_are_refused() {
        for text in [
            "input",
            "input=",
            "inptu=1",
            "input=-1",
            "input=1>5",
            "input=1>9:2>8:3",
            "input=1 input=2",
            "input=1e30",
        ] {
            assert!(Rates::parse(text).is_err(), "{text}");
        }
    }
}
