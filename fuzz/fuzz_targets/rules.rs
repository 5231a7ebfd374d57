//! Runs [`ff_fuzz::rules`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::rules::check(data));
