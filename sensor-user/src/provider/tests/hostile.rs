//! Damaged exchanges come in; the tracker stays within its bounds and never panics.

use crate::http::BodyEnd;
use crate::provider::tests::Story;
use crate::provider::tests::tracker;

const ASKED: &[u8] = br#"{"messages":[{"role":"user","content":[{"text":"hi\u0041","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"model":"m","stream":true}"#;

const ANSWERS: &[(&str, &[u8])] = &[
    ("application/json", br#"{"id":"c1","choices":[{}],"usage":{"prompt_tokens":18446744073709551615,"prompt_tokens_details":{"cached_tokens":-1},"cost":1e400}}"#),
    ("text/event-stream", b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"iterations\":[{}]}}}\n\ndata: {\"error\":[]}\n\ndata: [DONE]\n\n"),
    ("application/x-ndjson", b"{\"done\":true,\"eval_count\":99999999999999999999}\n\n{\"response\":\"x\"}\n[]\n"),
    ("application/vnd.amazon.eventstream", b"\x00\x00\x00\x1f\x00\x00\x00\x00aaaa{\"bytes\":\"e30=\"}bbbb\x00\x00\x00\x10\x00\x00\x00\x00cccc"),
    ("", b" \n[{\"usageMetadata\":{\"promptTokenCount\":1}},{\"error\":{\"status\":\"X\"}}]"),
];

const PLACES: &[(&str, &str)] = &[
    ("api.openai.com", "/v1/chat/completions"),
    ("api.anthropic.com", "/v1/messages"),
    ("bedrock-runtime.eu-west-1.amazonaws.com", "/model/arn%3aaws%ZZ%/invoke-with-response-stream"),
    ("generativelanguage.googleapis.com", "/v1beta/models/m:streamGenerateContent?key=%"),
    ("llm.corp.example", "/api/chat"),
];

/// A small generator of numbers that look random (xorshift), the same ones in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap().checked_rem(bound).unwrap_or(0)
    }

    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        const JUNK: &[u8] = b"\"\\{}[],:\n\r\0\xff1-eu ";
        let mut bytes = bytes.to_vec();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => bytes[at] = JUNK[self.below(JUNK.len())],
                1 => bytes.insert(at, JUNK[self.below(JUNK.len())]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

#[test]
fn damaged_bodies_give_exactly_one_bounded_call() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..4000_usize {
        let (host, target) = PLACES[round % PLACES.len()];
        let (kind, answer) = ANSWERS[(round / PLACES.len()) % ANSWERS.len()];
        let (asked, answer) = (numbers.damage(ASKED), numbers.damage(answer));
        let story = Story::new(host, target, "", "");
        let story = Story { asked: &asked, answer: &answer, answer_type: kind, ..story };
        let end = [BodyEnd::Complete, BodyEnd::Gap, BodyEnd::Aborted, BodyEnd::Undecodable]
            [numbers.below(4)];
        let mut tracker = tracker("");
        let (a, b) = answer.split_at(numbers.below(answer.len()));
        story.cut(end).tell(&mut tracker, 1, (&[&asked], &[a, b]));
        tracker.close(1);
        let calls: Vec<_> = tracker.take_calls().collect();
        // A damaged request to an unlisted host may no longer look like a call.
        assert!(calls.len() == 1 || (calls.is_empty() && host == "llm.corp.example"));
        for call in calls {
            let texts =
                [call.request_model, call.response_model, call.response_id, call.error_type];
            assert!(
                texts
                    .iter()
                    .flatten()
                    .all(|text| text.len() <= 256 && !text.contains(char::is_control))
            );
        }
    }
}
