//! Runs [`ff_fuzz::schedules`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ff_fuzz::schedules::check(data));
