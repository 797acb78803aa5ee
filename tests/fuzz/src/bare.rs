//! A file, or code and constants, come in; whatever is found in them must be a place of code, and found in bounded time.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use sensor_user::probes::bare;
use sensor_user::probes::go_table;
use sensor_user::probes::offsets::Offsets;
use sensor_user::probes::segments::Segments;
use sensor_user::probes::signature::Pattern;

/// Where code stands in files that are made of an input.
const CODE_AT: u64 = 0x40_0000;
/// Where their constants stand.
const CONSTANTS_AT: u64 = 0x80_0000;
/// Texts that the searches look for.
const TEXTS: &[u8] =
    b"\0../boringssl/ssl/ssl_lib.cc\0../boringssl/ssl/ssl_buffer.cc\0boringssl/crypto/bio/bio.cc\0\
      ssl_write_internal\0ssl_read_internal\0SSL_write\0SSL_read\0SSL_do_handshake\0bio_write_intern\0";

static FILE: LazyLock<Mutex<File>> =
    LazyLock::new(|| Mutex::new(tempfile::tempfile().expect("a temporary file can be made")));

/// Runs one input: as a file, as the code of a file for each machine, as the text of a pattern and of a table.
pub(crate) fn run(data: &[u8]) {
    examine(data);
    for machine in [62_u16, 183] {
        examine(&made(machine, data));
    }
    if let Ok(text) = str::from_utf8(data) {
        if let Ok(pattern) = Pattern::try_from(text.to_owned()) {
            let _fits = pattern.matches(data);
        }
        let _refused = Offsets::default().with(text);
    }
}

fn examine(bytes: &[u8]) {
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let written = file
        .set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(bytes));
    written.expect("a temporary file can be written");
    let Ok(image) = Segments::open(&file) else { return };
    let found = bare::searched(&image).into_iter().chain(bare::known(&image, &Offsets::bundled()));
    for (name, address) in found.flat_map(|found| found.places) {
        assert!(image.is_code(address), "{name} is code");
        assert!(image.offset_of(address).is_some(), "{name} stands in the file");
    }
    let range = go_table::in_data(&image, |table, text| {
        table.find(["crypto/tls.(*Conn).Write"], text).into_iter().flatten().next()
    });
    assert!(range.is_none_or(|(start, end)| start < end), "a function has a length");
}

/// An executable with the input as its code, and the texts and the input as its constants.
fn made(machine: u16, code: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, machine].iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([CODE_AT, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 2, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let size = code.len() as u64;
    let mut data = TEXTS.to_vec();
    data.resize(TEXTS.len().next_multiple_of(8), 0);
    data.extend(code);
    let constants = (data.len() as u64, 4096 + size, CONSTANTS_AT);
    for (flags, (size, offset, address)) in [(5_u32, (size, 4096, CODE_AT)), (4, constants)] {
        bytes.extend([1, flags].iter().flat_map(|word| word.to_le_bytes()));
        let words = [offset, address, address, size, size, 4096];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes.resize(4096, 0);
    bytes.extend(code);
    bytes.extend(data);
    bytes
}
