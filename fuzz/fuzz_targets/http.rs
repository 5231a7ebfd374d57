//! Runs [`ff_fuzz::http`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::http::check(data));
