//! Header blocks come in; a decoder that joined later, or keeps less, must never say another name or value than one that
//! saw and kept all.

use sensor_user::http::http2::hpack::Decoder;

/// Bytes of table that the decoder which knows the truth keeps: more than any input can fill.
const TRUTH_BYTES: usize = 1 << 30;
/// Bytes of table that the others keep; short inputs can fill the smaller one.
const TABLE_BYTES: [usize; 2] = [65_536, 96];

/// Tags of items that are no block.
const OFFER: u8 = 0xfe;
const ACKNOWLEDGE: u8 = 0xfd;

type Field = (Option<Vec<u8>>, Vec<u8>);

/// Runs one input: options, the number of the block at which a decoder joins, then blocks with their lengths.
pub(crate) fn run(data: &[u8]) {
    let [options, joins_at, rest @ ..] = data else { return };
    let table_bytes = TABLE_BYTES[usize::from(*options & 1)];
    let mut truth = Decoder::new(TRUTH_BYTES);
    let mut others = [Decoder::new(table_bytes), Decoder::new(table_bytes)];
    let mut input = rest;
    let mut block = 0_u8;
    while let Some((tag, rest)) = input.split_first() {
        input = rest;
        let [bounded, joined] = &mut others;
        let has_joined = block >= *joins_at;
        let present = [Some(&mut *bounded), has_joined.then_some(&mut *joined)];
        match *tag {
            OFFER => {
                let size = input.split_off_first().map(|size| usize::from(*size).saturating_mul(8));
                truth.offer(size);
                present.into_iter().flatten().for_each(|decoder| decoder.offer(size));
            }
            ACKNOWLEDGE => {
                truth.acknowledge();
                present.into_iter().flatten().for_each(Decoder::acknowledge);
            }
            length => {
                let (bytes, behind) = input.split_at(usize::from(length).min(input.len()));
                input = behind;
                if block == *joins_at && block > 0 {
                    joined.forget();
                }
                let (fields, lawful) = decode(&mut truth, bytes);
                if !lawful {
                    // Behind a block that breaks the rules nothing is the truth.
                    return;
                }
                compare(&fields, bounded, bytes);
                if has_joined {
                    compare(&fields, joined, bytes);
                }
                block = block.saturating_add(1);
            }
        }
    }
}

/// Decodes a lawful block and compares what is known of its fields with the truth.
fn compare(truth: &[Field], decoder: &mut Decoder, block: &[u8]) {
    let (seen, well) = decode(decoder, block);
    assert!(well, "a lawful block is refused");
    assert_eq!(truth.len(), seen.len(), "a field is missing or made up");
    for ((name, value), (seen_name, seen_value)) in truth.iter().zip(&seen) {
        if let Some(seen_name) = seen_name {
            assert_eq!(name.as_ref(), Some(seen_name), "a wrong name");
            assert_eq!(value, seen_value, "a wrong value under a right name");
        }
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> (Vec<Field>, bool) {
    let mut fields = Vec::new();
    let outcome = decoder.decode(block, &mut |name, value| {
        fields.push((name.map(|name| name.to_vec()), value.to_vec()));
    });
    (fields, outcome.is_ok())
}
