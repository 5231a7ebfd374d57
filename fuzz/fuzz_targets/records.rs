//! Runs [`ff_fuzz::records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::records::check(data));
