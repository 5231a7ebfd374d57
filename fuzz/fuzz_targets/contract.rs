//! Runs [`ff_fuzz::contract`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::contract::check(data));
