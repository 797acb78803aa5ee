//! Documents come in, whole and cut at every byte; what the skimmer finds in them is compared.

use std::sync::LazyLock;

use crate::provider::skim::DEPTH_MAX;
use crate::provider::skim::JSON_MAX;
use crate::provider::skim::Plan;
use crate::provider::skim::Skimmer;
use crate::provider::skim::Slot;
use crate::provider::skim::TEXT_MAX;
use crate::provider::skim::Want;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    Plan::new(&[
        ("model", Want::Text),
        ("stream", Want::Text),
        ("usage", Want::Json),
        ("choices[]", Want::Filled),
        ("choices[].delta.content", Want::Filled),
        ("output[].type", Want::Tally(&["web", "file"])),
        ("[].n", Want::Text),
        ("queries[]", Want::Distinct),
    ])
});

static DEEP: LazyLock<Plan> =
    LazyLock::new(|| Plan::new(&[("model", Want::Text), ("**.cache.ttl", Want::Tally(&["1h"]))]));

fn show(skim: &Skimmer) -> String {
    let line = |(path, slot): (&str, &Slot)| {
        let written = String::from_utf8_lossy(slot.written()).into_owned();
        format!("{path}={written}/{}/{}", slot.count(0), slot.count(1))
    };
    skim.found().map(line).collect::<Vec<_>>().join(" ")
}

fn skim(plan: &'static Plan, parts: &[&[u8]]) -> Skimmer {
    let mut skim = Skimmer::new(plan);
    for part in parts {
        skim.push(part);
    }
    skim
}

/// Document, what is found in it, whether it is broken.
const CASES: &[(&str, &str, bool)] = &[
    (
        r#"{"messages":[{"content":"a \" model"}],"model":"m-1","stream":true}"#,
        "model=m-1/0/0 stream=true/0/0",
        false,
    ),
    (r#"{"x":{"model":"no","usage":{}},"model" : "yes" }"#, "model=yes/0/0", false),
    (r#"{"mo\u0064el":"esc"}"#, "model=esc/0/0", false),
    (r#"{"model":"first","model":"last"}"#, "model=last/0/0", false),
    (r#"{"queries":["a","b","a","",null,7,"b"]}"#, "queries[]=/2/0", false),
    (r#"{"queries":[""]}"#, "", false),
    (r#"{"model":"first","model":null}"#, "", false),
    (r#"{"model":"first","model":{"a":1}}"#, "", false),
    (
        r#"{"usage":{"a":"}\"]","b":[{}]},"stream":false}"#,
        r#"stream=false/0/0 usage={"a":"}\"]","b":[{}]}/0/0"#,
        false,
    ),
    (r#"{"usage":{"a":1},"usage":null}"#, "", false),
    (r#"{"usage":"text"}"#, "", false),
    (
        r#"{"choices":[{"delta":{"content":""}},{"delta":{"content":"x"}}]}"#,
        "choices[]=/2/0 choices[].delta.content=/1/0",
        false,
    ),
    (r#"{"choices":[],"model":"m"}"#, "model=m/0/0", false),
    (r#"{"choices":[null,{"delta":{"content":null}}]}"#, "choices[]=/1/0", false),
    (
        r#"{"output":[{"type":"web"},{"type":"x"},{"type":"file"},{"type":"web"}]}"#,
        "output[].type=web/2/1",
        false,
    ),
    (r#"[{"n":1},{"n":27}]"#, "[].n=27/0/0", false),
    (r#"{"model":"m"} trailing"#, "model=m/0/0", false),
    (r#"{"model":"m"]"#, "model=m/0/0", true),
    (r#"{"x":[1,2},"model":"m"}"#, "", true),
    ("[DONE]", "", true),
    ("<html>", "", true),
    ("", "", false),
];

#[test]
fn values_are_found_however_the_document_is_cut() {
    for (document, expected, broken) in CASES {
        let bytes = document.as_bytes();
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let skimmed = skim(&PLAN, &[a, b]);
            assert_eq!(show(&skimmed), *expected, "cut at {cut}");
            assert_eq!(skimmed.is_broken(), *broken, "{document}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(show(&skim(&PLAN, &single)), *expected);
    }
}

#[test]
fn a_key_that_may_stand_anywhere_is_counted_at_every_depth() {
    let document =
        br#"{"a":[[{"cache":{"ttl":"1h"}}]],"b":{"c":{"cache":{"ttl":"5m"}}},"model":"m"}"#;
    assert_eq!(show(&skim(&DEEP, &[document])), "model=m/0/0 **.cache.ttl=5m/1/0");
}

#[test]
fn nesting_beyond_the_bound_gives_up() {
    let deep = "[".repeat(DEPTH_MAX + 1);
    for plan in [&*PLAN, &*DEEP] {
        assert!(skim(plan, &[deep.as_bytes()]).is_broken());
        assert!(!skim(plan, &[&deep.as_bytes()[1..]]).is_broken());
    }
}

#[test]
fn values_over_their_bound_count_as_absent() {
    let model = format!(
        r#"{{"model":"{}","usage":{{"a":"{}"}}}}"#,
        "m".repeat(TEXT_MAX + 1),
        "u".repeat(JSON_MAX)
    );
    assert_eq!(show(&skim(&PLAN, &[model.as_bytes()])), "");
}

#[test]
fn a_reset_skimmer_is_like_new() {
    let mut skimmed = skim(&PLAN, &[br#"{"model":"m","usage":{"a":1},"choices":[1"#]);
    skimmed.reset();
    skimmed.push(br#"{"stream":true}"#);
    assert_eq!(show(&skimmed), "stream=true/0/0");
}

#[test]
fn nothing_is_kept_of_a_text_over_its_bound_however_it_is_cut() {
    let document =
        format!(r#"{{"output":[{{"type":"web"}},{{"type":"{}"#, "x".repeat(TEXT_MAX + 1));
    for cut in [1, 10, document.len()] {
        let parts: Vec<&[u8]> = document.as_bytes().chunks(cut).collect();
        assert_eq!(show(&skim(&PLAN, &parts)), "output[].type=/1/0", "in pieces of {cut}");
    }
}
