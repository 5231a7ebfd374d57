//! Names for this host and this process, where the user gives none.

use crate::outcome::Failed;

/// The longest part of a host's name that is used.
const MAX_HOST: usize = 40;

/// This host's name, as far as it can be a worker's.
pub fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let usable: String = name.chars().filter(char::is_ascii_graphic).take(MAX_HOST).collect();
    if usable.is_empty() { "worker".to_owned() } else { usable }
}

/// A name for this process that no other has: in containers even process ids are the same.
pub fn instance(of: &str) -> Result<String, Failed> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(Failed::runtime)?;
    let of: String = of.chars().take(MAX_HOST).collect();
    Ok(format!("{of}-{}-{:08x}", std::process::id(), u32::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::id::{WorkerId, WorkerInstanceId};

    #[test]
    fn they_are_names_and_differ() {
        assert!(WorkerId::try_new(host()).is_ok());
        let names = [&host(), &"x".repeat(64)].map(|of| instance(of).expect("random bytes"));
        for name in &names {
            assert!(WorkerInstanceId::try_new(name).is_ok(), "{name}");
        }
        assert_ne!(names[1], instance(&"x".repeat(64)).expect("random bytes"));
    }
}
