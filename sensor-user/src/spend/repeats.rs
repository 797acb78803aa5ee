//! Calls with their prices come in, one after the other; those whose figures another call has told before go out for nothing.

use std::collections::HashMap;

use sha2::Digest;
use sha2::Sha256;

use crate::provider::Call;
use crate::provider::UsageQuality;
use crate::spend::Cost;
use crate::spend::meter;

/// Answers remembered at once, in two halves of which the older gives way: some 4 MB.
const ANSWERS_MAX: usize = 65_536;
/// A half is given up when it is this old, in nanoseconds: `OpenAI` keeps an answer for thirty days.
const HALF_NS: u64 = 15 * 24 * 60 * 60 * 1_000_000_000;
/// Bytes of the digest that stands for an answer: enough that no two of them meet.
const ID_BYTES: usize = 16;

type AnswerId = [u8; ID_BYTES];

/// What was counted of an answer.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Tokens and pieces of all classes.
    amount: u64,
    picodollars: i64,
    /// The figures came with a stored copy; the call that made the answer may still end.
    by_copy: bool,
}

/// The answers whose figures have been counted.
#[derive(Debug, Default)]
pub struct Repeats {
    young: HashMap<AnswerId, Told>,
    old: HashMap<AnswerId, Told>,
    turned_ns: u64,
}

impl Repeats {
    /// Says what a call adds to what was counted before it, and sets `Call::repeated` where its figures are in that sum.
    /// A key's fingerprint keeps the answers of different customers apart.
    pub fn settle(&mut self, call: &mut Call, fingerprint: Option<&str>, cost: Cost) -> Cost {
        let is_copy = call.repeated;
        if call.usage_quality == UsageQuality::Missing {
            // To ask whether an answer is ready costs nothing, and settles nothing. Where the reply was not seen whole, it may
            // have had the figures that no other call tells.
            let is_whole = call.complete && call.error_type.is_none();
            return if is_copy && is_whole { Cost::reported(0) } else { cost };
        }
        let amount = meter::read(&call.usage, call.operation).map_or(0, |reading| {
            reading.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(count.amount))
        });
        let picodollars = cost.picodollars.unwrap_or_default();
        let Some(id) = call.response_id.as_deref() else {
            // Which answer it repeats is not known: what it costs is counted, and so are its tokens.
            call.repeated = false;
            return cost;
        };
        if amount == 0 && picodollars <= 0 {
            return cost;
        }
        let id = digest(&call.provider, fingerprint.unwrap_or_default(), id);
        let known = self.recall(&id, call.ended_ns);
        // Servers that give all their answers one name make a new one each time nonetheless.
        let before = known.filter(|told| is_copy || told.by_copy);
        call.repeated = before.is_some();
        let is_more = before.is_none_or(|told| amount > told.amount);
        let by_copy = is_copy && known.is_none_or(|told| told.by_copy);
        let told = match before {
            Some(told) if !is_more => Told { by_copy, ..told },
            _ => Told { amount, picodollars, by_copy },
        };
        self.keep(id, told);
        match before {
            None => cost,
            // What was counted was a lower bound: a stream that was cut, a batch under way.
            Some(told) if is_more => Cost {
                picodollars: cost
                    .picodollars
                    .map(|all| all.saturating_sub(told.picodollars).max(0)),
                ..cost
            },
            Some(_) => Cost::reported(0),
        }
    }

    /// What was counted of an answer; what is asked for stays in memory.
    fn recall(&mut self, id: &AnswerId, now_ns: u64) -> Option<Told> {
        let is_full = self.young.len() >= ANSWERS_MAX / 2;
        if is_full || now_ns.saturating_sub(self.turned_ns) >= HALF_NS {
            self.old = std::mem::take(&mut self.young);
            self.turned_ns = now_ns;
        }
        self.young.get(id).or_else(|| self.old.get(id)).copied()
    }

    fn keep(&mut self, id: AnswerId, told: Told) {
        self.young.insert(id, told);
    }
}

fn digest(provider: &str, fingerprint: &str, id: &str) -> AnswerId {
    let mut hash = Sha256::new();
    for part in [provider, fingerprint, id] {
        hash.update(part);
        // No part has this byte, so that parts cannot flow into each other.
        hash.update([0]);
    }
    let mut short = AnswerId::default();
    for (to, from) in short.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Operation;
    use crate::provider::PriceContext;
    use crate::provider::Usage;
    use crate::spend::Gap;

    /// A call that made an answer of so many tokens.
    fn made(id: &str, output: u64) -> Call {
        Call {
            provider: "openai".to_owned(),
            price_provider: "openai".to_owned(),
            listed: true,
            operation: Operation::Chat,
            server_address: "api.openai.com".to_owned(),
            method: "POST".to_owned(),
            path: "/v1/responses".to_owned(),
            protocol_version: "2",
            request_model: None,
            response_model: Some("gpt-5".to_owned()),
            response_id: Some(id.to_owned()),
            stream: false,
            status: Some(200),
            rpc_status: None,
            error_type: None,
            usage: Usage { input_uncached: Some(0), output: Some(output), ..Usage::default() },
            usage_quality: UsageQuality::Reported,
            context: PriceContext::default(),
            credential: None,
            retry_count: None,
            started_ns: 0,
            first_byte_ns: None,
            first_token_ns: None,
            ended_ns: 1,
            complete: true,
            repeated: false,
            category: None,
            head_complete: true,
        }
    }

    /// A call that fetched it again.
    fn fetched(id: &str, output: u64) -> Call {
        Call { repeated: true, operation: Operation::Other, ..made(id, output) }
    }

    /// A call that asked for it in vain.
    fn waiting(id: &str) -> Call {
        let usage = Usage::default();
        Call { usage, usage_quality: UsageQuality::Missing, ..fetched(id, 0) }
    }

    /// What each call adds, at a pico-dollar a token; `None` where that is unknown.
    fn settle(repeats: &mut Repeats, calls: &[Call]) -> Vec<(Option<i64>, bool)> {
        let of = |call: &Call| {
            let mut call = call.clone();
            let cost = match call.usage.output {
                Some(tokens) => Cost::reported(i64::try_from(tokens).unwrap()),
                None => Cost::unknown(Gap::Usage),
            };
            let cost = repeats.settle(&mut call, Some("key"), cost);
            (cost.picodollars, call.repeated)
        };
        calls.iter().map(of).collect()
    }

    #[test]
    fn an_answer_that_is_fetched_again_is_priced_once() {
        let calls = [made("a", 9), fetched("a", 9), fetched("a", 9), fetched("b", 9), made("c", 9)];
        let expected = [
            (Some(9), false),
            (Some(0), true),
            (Some(0), true),
            (Some(9), false),
            (Some(9), false),
        ];
        assert_eq!(settle(&mut Repeats::default(), &calls), expected);
    }

    #[test]
    fn a_poll_without_figures_settles_nothing() {
        let queued = Call { repeated: false, ..waiting("a") };
        let empty = fetched("a", 0);
        let calls = [queued, waiting("a"), empty, fetched("a", 9), fetched("a", 9), waiting("a")];
        let expected = [
            (None, false),
            (Some(0), true),
            (Some(0), true),
            (Some(9), false),
            (Some(0), true),
            (Some(0), true),
        ];
        assert_eq!(settle(&mut Repeats::default(), &calls), expected);
    }

    #[test]
    fn a_copy_whose_figures_were_not_seen_has_no_known_price() {
        let cut = Call { complete: false, ..waiting("a") };
        let aborted = Call { error_type: Some("aborted".to_owned()), ..waiting("a") };
        let calls = [cut, aborted, waiting("a")];
        let expected = [(None, true), (None, true), (Some(0), true)];
        assert_eq!(settle(&mut Repeats::default(), &calls), expected);
    }

    #[test]
    fn a_copy_of_an_unnamed_answer_is_counted_with_its_tokens() {
        let unnamed = Call { response_id: None, ..fetched("a", 9) };
        let expected = [(Some(9), false), (Some(9), false)];
        assert_eq!(settle(&mut Repeats::default(), &[unnamed.clone(), unnamed]), expected);
    }

    #[test]
    fn what_was_a_lower_bound_is_made_up_for() {
        let cut = Call { usage_quality: UsageQuality::Partial, ..made("a", 4) };
        let calls = [cut, fetched("a", 9), fetched("a", 9)];
        let expected = [(Some(4), false), (Some(5), true), (Some(0), true)];
        assert_eq!(settle(&mut Repeats::default(), &calls), expected);
    }

    #[test]
    fn the_call_that_made_an_answer_may_end_after_a_copy_was_fetched() {
        let calls = [fetched("a", 9), made("a", 9), fetched("a", 9)];
        let expected = [(Some(9), false), (Some(0), true), (Some(0), true)];
        assert_eq!(settle(&mut Repeats::default(), &calls), expected);
        // All answers of some servers have one name.
        let calls = [made("x", 9), made("x", 9), made("x", 9)];
        assert_eq!(settle(&mut Repeats::default(), &calls), [(Some(9), false); 3]);
    }

    #[test]
    fn customers_and_providers_are_told_apart() {
        let mut repeats = Repeats::default();
        let elsewhere = Call { provider: "azure.ai.openai".to_owned(), ..fetched("a", 9) };
        let calls = [(made("a", 9), "one"), (fetched("a", 9), "other"), (elsewhere, "one")];
        for (mut call, key) in calls {
            let cost = repeats.settle(&mut call, Some(key), Cost::reported(9));
            assert_eq!((cost.picodollars, call.repeated), (Some(9), false), "{key}");
        }
    }

    #[test]
    fn memory_is_bounded_in_number_and_time() {
        let mut repeats = Repeats::default();
        for number in 0..ANSWERS_MAX {
            settle(&mut repeats, &[made(&number.to_string(), 9)]);
        }
        assert!(repeats.young.len() + repeats.old.len() <= ANSWERS_MAX);
        assert_eq!(settle(&mut repeats, &[fetched("65535", 9)]), [(Some(0), true)]);
        let late = |halves| Call { ended_ns: halves * HALF_NS + 1, ..fetched("65535", 9) };
        // It was asked for, so it is young again.
        assert_eq!(settle(&mut repeats, &[late(1), late(2), late(4)]), [(Some(0), true); 3]);
        let other = Call { ended_ns: 5 * HALF_NS + 1, ..made("other", 9) };
        let later = Call { ended_ns: 6 * HALF_NS + 1, ..made("later", 9) };
        assert_eq!(settle(&mut repeats, &[other, later, late(6)])[2], (Some(9), false));
    }
}
