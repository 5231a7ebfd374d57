//! All tests of core as one program, so that what they share is built once.

mod common;

mod allocations;
mod boundaries;
mod coverage;
mod docs;
mod golden;
mod lists;
mod one_record;
mod rules;
mod store;
