//! All tests of core as one program, so that what they share is built once.

mod common;

mod agents;
mod audit;
mod boundaries;
mod coverage;
mod docs;
mod facts;
mod golden;
mod lost_replies;
mod operations;
mod output;
mod rules;
mod store;
