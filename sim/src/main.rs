//! `ff-sim`: runs the simulator over many seeds, looks closely at one, and proves that it can fail.
//!
//! The command has a clock and threads, for its figures and its speed; no world sees either.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
