//! Everything that can happen to one execution: a systematic walk through the rules, random
//! sequences of commands, and the checks that one record and one step can show.

#![allow(dead_code, reason = "each program that includes this uses its part of it")]

pub mod arguments;
pub mod exploration;
pub mod invariants;
pub mod run;
pub mod steps;
pub mod waits;
