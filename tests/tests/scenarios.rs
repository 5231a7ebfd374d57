//! Runs every scenario of `ff_tests::scenario` on every backend.

/// Defines a test for each scenario of the table, with the `fixture` function of the module.
macro_rules! tests {
    ($($subject:ident: $($scenario:ident),+;)+) => {
        $($(
            #[tokio::test(start_paused = true)]
            async fn $scenario() {
                ff_tests::scenario::$subject::$scenario(&fixture()).await;
            }
        )+)+
    };
}

/// The memory backend.
mod memory {
    use ff_tests::Fixture;

    fn fixture() -> Fixture {
        Fixture::memory()
    }
    ff_tests::for_each_scenario!(tests);
}

/// A SQLite file.
mod sqlite {
    use ff_tests::Fixture;

    fn fixture() -> Fixture {
        Fixture::sqlite()
    }
    ff_tests::for_each_scenario!(tests);
}

/// A Valkey server.
mod valkey {
    use ff_tests::Fixture;

    fn fixture() -> Fixture {
        Fixture::valkey()
    }
    ff_tests::for_each_scenario!(tests);
}

/// A cluster of three primaries.
mod cluster {
    use ff_tests::Fixture;

    fn fixture() -> Fixture {
        Fixture::cluster()
    }
    ff_tests::for_each_scenario!(tests);
}

/// The names of the table.
macro_rules! names {
    ($($subject:ident: $($scenario:ident),+;)+) => {
        &[$($(concat!(stringify!($subject), "::", stringify!($scenario))),+),+]
    };
}

/// A scenario that is not in the table would never run.
#[test]
fn the_table_has_every_scenario() {
    const NAMES: &[&str] = ff_tests::for_each_scenario!(names);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenario");
    let mut written = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let subject = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
            let name = line.split('(').next().unwrap_or_default();
            written.push(format!("{subject}::{name}"));
        }
    }
    written.sort();
    let mut named: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    named.sort();
    assert_eq!(named, written);
    assert!(named.len() > 50);
}
