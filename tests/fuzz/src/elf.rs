//! An executable comes in, as broken as a process may have mapped it; places for probes must lie within it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use sensor_user::probes::{elf, prologue};

const WANTED: [&str; 4] = ["SSL_write", "SSL_read", "SSL_write_ex", "main"];

static FILE: LazyLock<Mutex<File>> =
    LazyLock::new(|| Mutex::new(tempfile::tempfile().expect("a temporary file can be made")));

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    examine(data, 0x1000, data);
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let written = file
        .set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| file.write_all(data));
    written.expect("a temporary file can be written");
    let Ok(image) = elf::Image::read(&file, &WANTED, &["SSL_write"]) else { return };
    for function in WANTED.iter().filter_map(|name| image.function(name)) {
        let at = usize::try_from(function.offset).unwrap_or(usize::MAX);
        let code = data.get(at..).and_then(|code| code.get(..function.code.len()));
        assert_eq!(code, Some(function.code.as_slice()), "the code is what the file has there");
        assert_eq!(image.function_at(function.address).as_ref(), Some(function));
        examine(&function.code, function.address, data);
    }
}

fn examine(code: &[u8], address: u64, data: &[u8]) {
    let offset = prologue::entry_offset(code, address);
    let inside = usize::try_from(offset).is_ok_and(|offset| offset < code.len().max(1));
    assert!(inside, "a probe lies in its function, of {} bytes in {}", code.len(), data.len());
    let _first = prologue::starts_cheap(code, address);
    if let Some(inner) = prologue::inner_call(code, address) {
        assert!(matches!(inner.written_argument, 3..=5), "the argument is one that can be");
    }
}
