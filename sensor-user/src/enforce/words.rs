//! Words come in, the numbers that stand for them in the kernel go out; and back.

use sensor_common::gate::{
    DESTINATION_FIRST, LAYER_ADDRESS, LAYER_CHANGE, LAYER_CONTENT, LAYER_NAME, LAYER_OPAQUE,
    LAYER_QUIC, LAYER_SOCKET, NAME_HEAD_AND_TAIL, NAME_TAIL, NAME_WHOLE, REASON_HEAD_UNREADABLE,
    REASON_HELLO_HIDDEN, REASON_HELLO_UNREADABLE, REASON_HTTP_2, REASON_MPTCP, REASON_NOT_HTTP,
    REASON_OWN, REASON_QUIC, REASON_RAW, REASON_RECORD_UNSEEN, REASON_ULP, REASON_UNFINISHED,
    REASON_UNMAPPED, REASON_UNREADABLE, RuleKey, name_key,
};
use sensor_common::limits::MODEL_SCAN_MAX;
use sensor_common::state::{NAME_HASH_PRIME, NAME_HASH_START, name_hash_step};

/// Bytes of a model's name that the gate reads.
const MODEL_BYTES: usize = MODEL_SCAN_MAX as usize;

/// FNV-1a of bytes as they are, first to last: paths and models.
pub(super) fn hash(text: &[u8]) -> u64 {
    text.iter()
        .fold(NAME_HASH_START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(NAME_HASH_PRIME))
}

/// A model's name, as far as the gate reads it.
pub(super) fn model(name: &str) -> u64 {
    let bytes = name.as_bytes();
    hash(bytes.get(..MODEL_BYTES).unwrap_or(bytes))
}

/// A number of 31 bits for a text, the same in every version and on every machine; at least `least`.
fn number(text: &str, least: u32) -> u32 {
    let folded = hash(text.as_bytes());
    let folded = (folded ^ (folded >> 33)) & u64::from(REASON_OWN.saturating_sub(1));
    u32::try_from(folded).unwrap_or(least).max(least)
}

/// Number of a provider.
pub fn destination(provider: &str) -> u32 {
    number(provider, DESTINATION_FIRST)
}

/// Number of a class of subjects.
pub(super) fn class(name: &str) -> u32 {
    number(name, 1)
}

/// Number of a reason.
pub(super) fn reason(words: &str) -> u32 {
    number(words, 1)
}

/// Key under which the gate finds a host name or pattern; nothing where the kernel cannot match it exactly.
pub(super) fn name(pattern: &str) -> Option<u64> {
    let backwards = |text: &str| text.bytes().rev().fold(NAME_HASH_START, name_hash_step);
    let Some((head, tail)) = pattern.split_once('*') else {
        return Some(name_key(backwards(pattern), NAME_WHOLE, 0));
    };
    if tail.contains('*') || !tail.starts_with(['.', '-']) {
        return None;
    }
    if head.is_empty() {
        return Some(name_key(backwards(tail), NAME_TAIL, 0));
    }
    // The kernel compares the first label, with its dot.
    let is_label = head.find('.') == head.len().checked_sub(1);
    let label = head.bytes().fold(NAME_HASH_START, name_hash_step);
    is_label.then(|| name_key(backwards(tail), NAME_HEAD_AND_TAIL, label))
}

/// Number under which the name of what a panic is about is kept, beside the words of reasons: its key is a number only.
pub(super) fn name_of(key: &RuleKey) -> u32 {
    number(&format!("panic {} {} {:?}", key.class, key.kind, key.value), 1)
}

/// Number of a group of keys.
pub(super) fn group(rows: &str) -> u32 {
    number(rows, 1)
}

/// Word of a layer.
pub fn layer_word(layer: u32) -> &'static str {
    match layer {
        LAYER_ADDRESS => "address",
        LAYER_NAME => "name",
        LAYER_CONTENT => "content",
        LAYER_CHANGE => "change",
        LAYER_OPAQUE => "opaque",
        LAYER_SOCKET => "socket",
        LAYER_QUIC => "quic",
        _ => "unknown",
    }
}

/// Words of a reason that the gate itself gives.
pub fn reason_words(reason: u32) -> Option<&'static str> {
    match reason {
        REASON_HELLO_UNREADABLE => Some("client_hello_unreadable"),
        REASON_HELLO_HIDDEN => Some("name_hidden"),
        REASON_RECORD_UNSEEN => Some("record_unseen"),
        REASON_MPTCP => Some("mptcp"),
        REASON_QUIC => Some("quic"),
        REASON_UNMAPPED => Some("socket_not_watched"),
        REASON_HEAD_UNREADABLE => Some("head_unreadable"),
        REASON_HTTP_2 => Some("http_2_not_judged"),
        REASON_NOT_HTTP => Some("not_http"),
        REASON_UNREADABLE => Some("write_unreadable"),
        REASON_UNFINISHED => Some("judging_unfinished"),
        REASON_RAW => Some("raw_socket"),
        REASON_ULP => Some("records_made_by_the_kernel"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_the_kernel_matches_exactly_have_a_key() {
        const CASES: [(&str, bool); 7] = [
            ("api.openai.com", true),
            ("*.openai.azure.com", true),
            ("*-aiplatform.googleapis.com", true),
            ("bedrock-runtime.*.amazonaws.com", true),
            ("runtime.sagemaker.*.amazonaws.com", false),
            ("*.svc.*.pinecone.io", false),
            ("*", false),
        ];
        for (pattern, is_exact) in CASES {
            assert_eq!(name(pattern).is_some(), is_exact, "{pattern}");
        }
    }

    #[test]
    fn numbers_never_stand_for_something_else() {
        assert!(destination("openai") >= DESTINATION_FIRST);
        assert_ne!(destination("openai"), destination("anthropic"));
        assert!(reason("budget spent") < REASON_OWN);
    }
}
