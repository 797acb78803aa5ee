//! Bytes of libFuzzer come in; a finding goes out as a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_fuzz::run("grpc", data));
