//! The default name of a worker.

/// How many characters of the host name are used.
const MAX_NAME: usize = 40;

/// The host name, without the characters that a worker ID cannot have.
pub fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let usable: String = name.chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    if usable.is_empty() { "worker".to_owned() } else { usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::id::WorkerId;

    #[test]
    fn the_name_of_the_host_is_valid() {
        assert!(WorkerId::try_new(host()).is_ok());
    }
}
