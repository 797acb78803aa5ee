//! Token counts of a call come in; disjoint counts, each with the classes whose rate may price it, go out.

use crate::provider::Operation;
use crate::provider::Usage;
use crate::spend::Gap;
use crate::spend::rates::Class;

/// One thing that is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) class: Class,
    /// Tokens, pieces, or milliseconds.
    pub(super) amount: u64,
}

/// What a call used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) counts: Vec<Count>,
    /// All input tokens, cached ones included: this picks the tier.
    pub(super) total_input: u64,
    /// What is odd about the counts.
    pub(super) gap: Option<Gap>,
}

/// Reads the counts; `None` where not one is known.
pub(super) fn read(usage: &Usage, operation: Operation) -> Option<Reading> {
    let known = [
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_30m,
        usage.cache_write_1h,
        usage.cache_write_12h,
        usage.output,
        usage.web_searches,
        usage.file_searches,
        usage.search_units,
        usage.pages,
        usage.audio_millis,
    ];
    if known.iter().all(Option::is_none) {
        return None;
    }
    let count = |value: Option<u64>| value.unwrap_or_default();
    let input = count(usage.input_uncached);
    let [audio, image] = [usage.input_audio, usage.input_image].map(count);
    let cached = count(usage.cache_read);
    let [cached_audio, cached_image] = [usage.cache_read_audio, usage.cache_read_image].map(count);
    let cached_parts = cached_audio.saturating_add(cached_image);
    let writes = count(usage.cache_write_5m).saturating_add(count(usage.cache_write_30m));
    let [writes_1h, writes_12h] = [usage.cache_write_1h, usage.cache_write_12h].map(count);
    let output = count(usage.output);
    let [reasoning, output_audio, output_image] =
        [usage.output_reasoning, usage.output_audio, usage.output_image].map(count);
    let special = [reasoning, output_audio, output_image].into_iter().fold(0, u64::saturating_add);
    let parts = [(audio.saturating_add(image), input), (cached_parts, cached), (special, output)];
    let inconsistent = parts.iter().any(|(part, whole)| part > whole);
    let counts = vec![
        Count { class: Class::Input, amount: input.saturating_sub(audio).saturating_sub(image) },
        Count { class: Class::InputAudio, amount: audio },
        Count { class: Class::InputImage, amount: image },
        Count { class: Class::CacheRead, amount: cached.saturating_sub(cached_parts) },
        Count { class: Class::CacheReadAudio, amount: cached_audio },
        Count { class: Class::CacheReadImage, amount: cached_image },
        Count { class: Class::CacheWrite, amount: writes },
        Count { class: Class::CacheWrite1h, amount: writes_1h },
        Count { class: Class::CacheWrite12h, amount: writes_12h },
        Count { class: Class::Output, amount: output.saturating_sub(special) },
        Count { class: Class::OutputReasoning, amount: reasoning },
        Count { class: Class::OutputAudio, amount: output_audio },
        Count { class: Class::OutputImage, amount: output_image },
        Count { class: Class::WebSearch, amount: count(usage.web_searches) },
        Count { class: Class::FileSearch, amount: count(usage.file_searches) },
        Count { class: Class::SearchUnit, amount: count(usage.search_units) },
        Count { class: Class::Pages, amount: count(usage.pages) },
        Count { class: Class::InputAudioHours, amount: count(usage.audio_millis) },
    ];
    let total_input =
        [cached, writes, writes_1h, writes_12h].into_iter().fold(input, u64::saturating_add);
    let gap = if inconsistent {
        Some(Gap::Inconsistent)
    } else {
        lacks_a_count(usage, operation).then_some(Gap::Count)
    };
    Some(Reading { counts, total_input, gap })
}

fn lacks_a_count(usage: &Usage, operation: Operation) -> bool {
    match operation {
        Operation::Chat | Operation::TextCompletion => {
            usage.input_uncached.is_none() || usage.output.is_none()
        }
        _ => {
            usage.input_uncached.is_none()
                && usage.search_units.or(usage.pages).or(usage.audio_millis).is_none()
        }
    }
}

/// The classes whose rate prices a count, the most specific first: a row lists a class only where its rate differs.
pub(super) fn rate_classes(class: Class) -> &'static [Class] {
    match class {
        Class::InputAudio => &[Class::InputAudio, Class::Input],
        Class::InputImage => &[Class::InputImage, Class::Input],
        Class::CacheRead => &[Class::CacheRead, Class::Input],
        Class::CacheReadAudio => &[Class::CacheReadAudio, Class::CacheRead, Class::Input],
        Class::CacheReadImage => &[Class::CacheReadImage, Class::CacheRead, Class::Input],
        Class::CacheWrite => &[Class::CacheWrite, Class::Input],
        Class::CacheWrite1h => &[Class::CacheWrite1h, Class::CacheWrite, Class::Input],
        Class::CacheWrite12h => &[Class::CacheWrite12h, Class::CacheWrite, Class::Input],
        Class::OutputAudio => &[Class::OutputAudio, Class::Output],
        Class::OutputImage => &[Class::OutputImage, Class::Output],
        Class::OutputReasoning => &[Class::OutputReasoning, Class::Output],
        Class::InputAudioHours => &[Class::InputAudioHours, Class::AudioHours],
        Class::AudioHours => &[Class::AudioHours],
        Class::Input => &[Class::Input],
        Class::Output => &[Class::Output],
        Class::WebSearch => &[Class::WebSearch],
        Class::FileSearch => &[Class::FileSearch],
        Class::Request => &[Class::Request],
        Class::SearchUnit => &[Class::SearchUnit],
        Class::Pages => &[Class::Pages],
        Class::Unmetered => &[Class::Unmetered],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(reading: &Reading, class: Class) -> u64 {
        reading.counts.iter().find(|count| count.class == class).unwrap().amount
    }

    #[test]
    fn parts_are_taken_out_of_their_whole() {
        let usage = Usage {
            input_uncached: Some(100),
            input_audio: Some(30),
            input_image: Some(20),
            cache_read: Some(10),
            cache_read_audio: Some(4),
            cache_write_5m: Some(1),
            cache_write_30m: Some(2),
            output: Some(50),
            output_reasoning: Some(40),
            ..Usage::default()
        };
        let reading = read(&usage, Operation::Chat).unwrap();
        assert_eq!(amount(&reading, Class::Input), 50);
        assert_eq!(amount(&reading, Class::CacheRead), 6);
        assert_eq!(amount(&reading, Class::CacheWrite), 3);
        assert_eq!(amount(&reading, Class::Output), 10);
        assert_eq!(reading.total_input, 113);
        assert_eq!(reading.gap, None);
    }

    #[test]
    fn absent_counts_are_named() {
        assert_eq!(read(&Usage::default(), Operation::Chat), None);
        let input_only = Usage { input_uncached: Some(1), ..Usage::default() };
        assert_eq!(read(&input_only, Operation::Chat).unwrap().gap, Some(Gap::Count));
        assert_eq!(read(&input_only, Operation::Embeddings).unwrap().gap, None);
        let odd = Usage {
            input_uncached: Some(1),
            input_audio: Some(2),
            output: Some(0),
            ..Usage::default()
        };
        assert_eq!(read(&odd, Operation::Chat).unwrap().gap, Some(Gap::Inconsistent));
    }
}
