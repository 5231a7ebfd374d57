//! `ff-sim`: runs the simulator over many seeds, shows single runs, and proves that it finds bugs.
//!
//! The command uses a clock and threads, for its figures and its speed; no world can see either.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
