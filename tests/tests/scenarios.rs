//! Every scenario on every backend, from one source: `ff_tests::scenario`.

/// The scenarios of the table on one ground, a test each. The ground stands in the module around.
macro_rules! tests {
    ($($subject:ident: $($scenario:ident),+;)+) => {
        $($(
            #[tokio::test(start_paused = true)]
            async fn $scenario() {
                ff_tests::scenario::$subject::$scenario(&ground()).await;
            }
        )+)+
    };
}

/// The embedded backend.
mod memory {
    use ff_tests::Ground;

    fn ground() -> Ground {
        Ground::memory()
    }
    ff_tests::for_each_scenario!(tests);
}

/// A Valkey server.
mod valkey {
    use ff_tests::Ground;

    fn ground() -> Ground {
        Ground::valkey()
    }
    ff_tests::for_each_scenario!(tests);
}

/// A cluster of three primaries.
mod cluster {
    use ff_tests::Ground;

    fn ground() -> Ground {
        Ground::cluster()
    }
    ff_tests::for_each_scenario!(tests);
}

/// The names of the table.
macro_rules! names {
    ($($subject:ident: $($scenario:ident),+;)+) => {
        &[$($(concat!(stringify!($subject), "::", stringify!($scenario))),+),+]
    };
}

/// A scenario that is written but stands in no table would never run.
#[test]
fn the_table_names_every_scenario() {
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
