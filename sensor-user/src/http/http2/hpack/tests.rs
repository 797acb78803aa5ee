//! Header blocks come in, from RFC 7541 and from an encoder with random choices; their fields are compared.

use super::*;
use crate::http::http2::tests::encoder::{Encoder, Random};

type Field = (Option<String>, String);

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> (Vec<Field>, Result<(), Error>) {
    let mut fields = Vec::new();
    let outcome = decoder.decode(block, &mut |name, value| {
        fields.push((name.map(|name| text(name)), text(value)));
    });
    (fields, outcome)
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let octet = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

/// Blocks of one connection: octets, fields as `name=value`, bytes of the table behind it.
type Story = (usize, &'static [(&'static str, &'static [&'static str], usize)]);

const DATE_21: &str = "date=Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_22: &str = "date=Mon, 21 Oct 2013 20:13:22 GMT";
const LOCATION: &str = "location=https://www.example.com";
const COOKIE: &str = "set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const FIRST: &[&str] = &[":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
const SECOND: &[&str] = &[
    ":method=GET",
    ":scheme=http",
    ":path=/",
    ":authority=www.example.com",
    "cache-control=no-cache",
];
const THIRD: &[&str] = &[
    ":method=GET",
    ":scheme=https",
    ":path=/index.html",
    ":authority=www.example.com",
    "custom-key=custom-value",
];
const FOUND: &[&str] = &[":status=302", "cache-control=private", DATE_21, LOCATION];
const MOVED: &[&str] = &[":status=307", "cache-control=private", DATE_21, LOCATION];
const GOOD: &[&str] =
    &[":status=200", "cache-control=private", DATE_22, LOCATION, "content-encoding=gzip", COOKIE];

/// RFC 7541, C.2 to C.6; the size of the table comes first.
const STORIES: &[Story] = &[
    (
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key=custom-header"],
            55,
        )],
    ),
    (4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path=/sample/path"], 0)]),
    (4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password=secret"], 0)]),
    (4096, &[("82", &[":method=GET"], 0)]),
    (
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                THIRD,
                164,
            ),
        ],
    ),
    (
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
        ],
    ),
    (
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 \
                 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                FOUND,
                222,
            ),
            ("4803 3330 37c1 c0bf", MOVED, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                GOOD,
                215,
            ),
        ],
    ),
    (
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                FOUND,
                222,
            ),
            ("4883 640e ffc1 c0bf", MOVED, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07",
                GOOD,
                215,
            ),
        ],
    ),
];

#[test]
fn examples_of_the_rfc_are_decoded() {
    for (size, blocks) in STORIES {
        let mut decoder = Decoder::new(65_536);
        decoder.table.resize(*size);
        for (block, expected, table_bytes) in *blocks {
            let (fields, outcome) = decode(&mut decoder, &hex(block));
            let fields: Vec<String> =
                fields.into_iter().map(|(name, value)| name.unwrap() + "=" + &value).collect();
            assert_eq!((fields.join("\n"), outcome), (expected.join("\n"), Ok(())), "{block}");
            assert_eq!(decoder.table.bytes(), *table_bytes, "{block}");
        }
    }
}

/// Blocks that no encoder may send when the table holds one entry.
const BROKEN: &[(&str, Error)] = &[
    ("80", Error::Index),
    ("bf", Error::Index),
    ("7f 00 00", Error::Index),
    ("82 20", Error::LateResize),
    ("40 01 61", Error::Truncated),
    ("40 01 61 05 62", Error::Truncated),
    ("40 81 ff 00", Error::Huffman),
    ("ff ff ff ff ff ff 0f", Error::Integer),
];

#[test]
fn broken_block_makes_the_table_unknown() {
    for (block, error) in BROKEN {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &hex("40 01 61 01 62")).1, Ok(()));
        assert_eq!(decode(&mut decoder, &hex(block)).1, Err(*error), "{block}");
        assert_eq!(
            decode(&mut decoder, &hex("be")),
            (vec![(None, String::new())], Ok(())),
            "{block}"
        );
    }
}

#[test]
fn literal_under_an_unseen_name_has_none() {
    let mut decoder = Decoder::new(4096);
    decoder.forget();
    // Name 63, inserted; then that entry, which is 62 now; then 62 as a name.
    let (fields, outcome) = decode(&mut decoder, &hex("7f 00 01 76 be 0f 2f 01 77"));
    let expected = ["v", "v", "w"].map(|value| (None, value.to_owned()));
    assert_eq!((fields, outcome), (expected.to_vec(), Ok(())));
}

#[test]
fn names_are_lowercase() {
    let mut decoder = Decoder::new(4096);
    let (fields, _) = decode(&mut decoder, &hex("00 04 48 6f 53 74 01 41"));
    assert_eq!(fields, [(Some("host".to_owned()), "A".to_owned())]);
}

#[test]
fn acknowledged_setting_shrinks_the_table() {
    let mut decoder = Decoder::new(4096);
    let entry = hex("40 01 61 01 62");
    let entry_is_decoded =
        |decoder: &mut Decoder, block: &[u8]| assert_eq!(decode(decoder, block).1, Ok(()));
    entry_is_decoded(&mut decoder, &entry);
    decoder.offer(None);
    decoder.offer(Some(0));
    decoder.acknowledge();
    assert_eq!(decoder.table.bytes(), 34);
    decoder.acknowledge();
    assert_eq!(decoder.table.bytes(), 0);
    entry_is_decoded(&mut decoder, &entry);
    assert_eq!(decoder.table.bytes(), 0);
    // A block that begins with a larger size (here 64) is what lifts it again (RFC 7541, 4.2).
    decoder.offer(Some(4096));
    decoder.acknowledge();
    entry_is_decoded(&mut decoder, &[hex("3f 21"), entry].concat());
    assert_eq!((decoder.table.size(), decoder.table.bytes()), (64, 34));
}

#[test]
fn table_over_the_bound_loses_old_entries_and_never_mixes_them_up() {
    let mut random = Random(7);
    let mut encoder = Encoder::new(1 << 20);
    let mut decoder = Decoder::new(2048);
    let mut unseen = 0;
    let resize = encoder.resize(1 << 20);
    assert_eq!(decode(&mut decoder, &resize).1, Ok(()));
    for _ in 0..500 {
        let fields = random.fields(8);
        let (decoded, outcome) = decode(&mut decoder, &encoder.block(&fields, &mut random));
        assert_eq!(outcome, Ok(()));
        unseen += compare(&fields, &decoded);
        assert!(decoder.table.bytes() <= 2048);
    }
    assert!(unseen > 0 && decoder.cut() > 0);
}

/// Asserts that no value stands under a wrong name; returns how many names are unknown.
fn compare(truth: &[(String, String)], decoded: &[Field]) -> usize {
    assert_eq!(truth.len(), decoded.len());
    for ((true_name, true_value), (name, value)) in truth.iter().zip(decoded) {
        match name {
            Some(name) => assert_eq!((name, value), (true_name, true_value)),
            None => assert!(value.is_empty() || value == true_value),
        }
    }
    decoded.iter().filter(|(name, _)| name.is_none()).count()
}

#[test]
fn decoder_from_the_start_knows_every_field() {
    for seed in 1..60 {
        let mut random = Random(seed);
        let mut encoder = Encoder::new(4096);
        let mut decoder = Decoder::new(65_536);
        for _ in 0..40 {
            let fields = random.fields(12);
            let (decoded, outcome) = decode(&mut decoder, &encoder.block(&fields, &mut random));
            assert_eq!((compare(&fields, &decoded), outcome), (0, Ok(())), "seed {seed}");
        }
    }
}

#[test]
fn decoder_that_joined_never_has_a_value_under_a_wrong_name() {
    let (mut unknown, mut known) = (0, 0);
    for seed in 1..200 {
        let mut random = Random(seed);
        let mut encoder = Encoder::new(4096);
        let mut decoder = Decoder::new(65_536);
        let joined_at = random.below(20);
        for number in 0..40 {
            let fields = random.fields(12);
            let block = encoder.block(&fields, &mut random);
            if number == joined_at || number > joined_at && random.below(12) == 0 {
                // This block and the table are lost.
                decoder.forget();
            } else if number > joined_at {
                let (decoded, outcome) = decode(&mut decoder, &block);
                assert_eq!(outcome, Ok(()), "seed {seed}");
                let unknown_here = compare(&fields, &decoded);
                unknown += unknown_here;
                known += decoded.len() - unknown_here;
            }
        }
    }
    assert!(unknown > 1000 && known > 1000, "{unknown} unknown, {known} known");
}

#[test]
fn acknowledgement_of_settings_that_were_not_seen_changes_no_table() {
    // The decoder joins between the first settings and the second; the acknowledgement is of the first.
    let mut decoder = Decoder::new(4096);
    decoder.forget();
    decoder.offer(Some(0));
    let (fields, outcome) = decode(&mut decoder, &hex("4001 6101 31"));
    assert_eq!((fields.len(), outcome), (1, Ok(())));
    decoder.acknowledge();
    // The newest entry is still there; the one behind it was not seen, and may be there.
    let (fields, outcome) = decode(&mut decoder, &hex("be bf"));
    assert_eq!(fields, [(Some("a".to_owned()), "1".to_owned()), (None, String::new())]);
    assert_eq!(outcome, Ok(()));
}
