//! The tests of the command `ff` as one program, which links faster than one for each file.

mod common;

mod bench;
mod commands;
mod config;
mod doctor;
mod examples;
mod outage;
mod private_server;
mod processes;
mod run;
mod serve;
mod snapshots;
mod sqlite;
mod submit;
mod valkey;
mod waiting;
mod why;
mod workers;
