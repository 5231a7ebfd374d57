//! All tests of the simulator as one program, which links faster than one for each file. The search
//! for planted bugs needs its own process, and the tests of the command start programs.

#[path = "../../core/tests/common/mod.rs"]
mod common;
#[path = "../../core/tests/one_record/mod.rs"]
mod one_record;

mod approvals;
mod corpus;
mod crash_points;
mod explore;
mod guide;
mod long_sleeps;
mod lua;
mod operations;
mod plan;
mod simulation;
mod store;
mod world;
