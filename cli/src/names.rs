//! Default names for the worker and its instance.

use crate::exit::CliError;

/// How many characters of a host or worker name are used.
const MAX_NAME: usize = 40;

/// The host name, without the characters that a worker ID cannot have.
pub fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let usable: String = name.chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    if usable.is_empty() { "worker".to_owned() } else { usable }
}

/// A unique instance ID for this process. It has a random part, because processes in different
/// containers can have the same process ID.
pub fn instance(worker: &str) -> Result<String, CliError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(CliError::runtime)?;
    let worker: String = worker.chars().take(MAX_NAME).collect();
    Ok(format!("{worker}-{}-{:08x}", std::process::id(), u32::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::id::{WorkerId, WorkerInstanceId};

    #[test]
    fn default_names_are_valid_and_instances_differ() {
        assert!(WorkerId::try_new(host()).is_ok());
        let names = [&host(), &"x".repeat(64)].map(|name| instance(name).expect("random bytes"));
        for name in &names {
            assert!(WorkerInstanceId::try_new(name).is_ok(), "{name}");
        }
        assert_ne!(names[1], instance(&"x".repeat(64)).expect("random bytes"));
    }
}
