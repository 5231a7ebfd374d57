//! Runs [`ff_fuzz::names`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::names::check(data));
