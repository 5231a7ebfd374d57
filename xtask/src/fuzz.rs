//! Builds the fuzz targets with plain cargo and runs them one after the other. `fuzz/README.md`
//! says what each target checks. With cargo-fuzz, `cargo fuzz run --sanitizer none TARGET` runs one
//! target.

mod choose;

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::shell::{Failed, Outcome, cargo, output, root, run as run_command};

/// Longer inputs are slower and find nothing that shorter ones do not. libFuzzer would begin with
/// short ones alone, which hold no sequences of commands.
const LIMITS: [&str; 4] = ["-max_len=4096", "-len_control=0", "-rss_limit_mb=2048", "-timeout=20"];

/// The flags that cargo-fuzz gives, without a sanitizer: the code has no `unsafe`, so the address
/// sanitizer would find nothing, slow everything down and need unstable flags.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares \
     -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Arguments of fuzzing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "New inputs are collected in fuzz/target and are where the next run begins, \
    after those in fuzz/corpus/TARGET. An input that breaks a promise is kept in \
    fuzz/artifacts/TARGET, and the command that repeats it is printed."
)]
pub struct Args {
    /// Targets to run; all of them unless given
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Run each target for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Run each target on this many inputs, however long that takes
    #[arg(long, value_name = "COUNT", conflicts_with = "seconds")]
    inputs: Option<u64>,
    /// Start from fuzz/corpus alone with this seed, so that the run can be repeated
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Run the one target given on these inputs alone
    #[arg(long, value_name = "FILE", num_args = 1..)]
    #[arg(conflicts_with_all = ["seed", "minimise", "list"])]
    replay: Vec<PathBuf>,
    /// Choose anew which inputs are kept in fuzz/corpus/TARGET
    #[arg(long, conflicts_with = "list")]
    minimise: bool,
    /// Print the names of the targets
    #[arg(long)]
    list: bool,
}

/// How long a target runs.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Seconds.
    Seconds(u64),
    /// Inputs.
    Inputs(u64),
}

/// Runs what the arguments ask for.
///
/// # Errors
///
/// When a target is not known, does not build, or an input breaks a promise.
pub fn run(args: Args) -> Outcome {
    let fuzz = Fuzz::new()?;
    if args.list {
        fuzz.all.iter().for_each(|target| println!("{target}"));
        return Ok(());
    }
    for target in &args.targets {
        if !fuzz.all.contains(target) {
            let all = fuzz.all.join(", ");
            return Err(Failed(format!("unknown fuzz target `{target}`: expected one of {all}")));
        }
    }
    if !args.replay.is_empty() {
        let [target] = args.targets.as_slice() else {
            return Err(Failed("--replay needs exactly one target".to_owned()));
        };
        return fuzz.replay(target, &args.replay);
    }
    let targets = if args.targets.is_empty() { fuzz.all.clone() } else { args.targets };
    fuzz.build(&targets)?;
    if args.minimise {
        return targets.iter().try_for_each(|target| fuzz.minimise(target));
    }
    let bound = args.inputs.map_or(Bound::Seconds(args.seconds), Bound::Inputs);
    fuzz.run_each(&targets, bound, args.seed, 1)
}

/// Builds all targets and runs each on a number of inputs that a seed decides.
///
/// # Errors
///
/// When a target does not build, or an input breaks a promise.
pub fn run_all(inputs: u64, seed: u32) -> Outcome {
    let fuzz = Fuzz::new()?;
    fuzz.build(&fuzz.all)?;
    // A target uses one thread.
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    fuzz.run_each(&fuzz.all, Bound::Inputs(inputs), Some(seed), threads)
}

/// The folder `fuzz` and its targets.
struct Fuzz {
    folder: PathBuf,
    target: PathBuf,
    host: String,
    all: Vec<String>,
}

impl Fuzz {
    fn new() -> Outcome<Self> {
        let folder = root().join("fuzz");
        let manifest = read(&folder.join("Cargo.toml"))?;
        // Each target is a `[[bin]]`; the first name is the package's.
        let name = |line: &str| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned());
        let all = manifest.lines().filter_map(name).skip(1).collect();
        let rustc = output({
            let mut rustc = Command::new("rustc");
            rustc.arg("-vV");
            rustc
        })?;
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.ok_or_else(|| Failed("`rustc -vV` prints no host".to_owned()))?.to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| folder.join("target"), |path| PathBuf::from(path).join("fuzz"));
        Ok(Self { folder, target, host, all })
    }

    /// Naming the host as target keeps build scripts and macros from being instrumented.
    fn build(&self, targets: &[String]) -> Outcome {
        println!("building {}", targets.join(", "));
        let mut build = cargo(&["build", "--quiet", "--locked", "--release"]);
        build.current_dir(&self.folder).args(["--target", &self.host]);
        for target in targets {
            build.args(["--bin", target]);
        }
        let depth = "-Cllvm-args=-sanitizer-coverage-stack-depth";
        let depth = if self.host.contains("-linux-") { depth } else { "" };
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        build.env("RUSTFLAGS", format!("{INSTRUMENTED} {depth} {given}"));
        build.env("CARGO_TARGET_DIR", &self.target);
        run_command(build)
    }

    /// A target's program with its limits; artifacts go where they are kept.
    fn program(&self, target: &str) -> Outcome<Command> {
        let path = self.target.join(&self.host).join("release").join(target);
        let mut program = Command::new(path);
        let artifacts = self.folder.join("artifacts").join(target);
        create(&artifacts)?;
        program.args(LIMITS).current_dir(&self.folder);
        program.arg(format!("-artifact_prefix={}/", artifacts.display()));
        Ok(program)
    }

    /// Runs targets on this number of threads, the last first, since those are the slowest.
    fn run_each(
        &self,
        targets: &[String],
        bound: Bound,
        seed: Option<u32>,
        threads: usize,
    ) -> Outcome {
        let left = Mutex::new(targets.to_vec());
        let next = || left.lock().expect("no holder panics").pop();
        let work = || {
            let mut failed = Vec::new();
            while let Some(target) = next() {
                if !self.run_one(&target, bound, seed)? {
                    failed.push(target);
                }
            }
            Ok(failed)
        };
        let results: Vec<Outcome<_>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().expect("it does not panic")).collect()
        });
        let failed = results.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failed(format!("fuzz targets failed: {}", failed.join(", "))))
    }

    /// Runs one target, and gives whether every input kept its promises.
    fn run_one(&self, target: &str, bound: Bound, seed: Option<u32>) -> Outcome<bool> {
        let grown = self.target.join("fuzz-corpus");
        let grown = match seed {
            None => grown.join(target),
            Some(_) => grown.join(format!("{target}-with-seed")),
        };
        if seed.is_some() && grown.exists() {
            fs::remove_dir_all(&grown).map_err(|error| at(&grown, &error))?;
        }
        create(&grown)?;
        let kept = self.folder.join("corpus").join(target);
        create(&kept)?;
        let seed = seed.unwrap_or_else(any_seed);
        let mut program = self.program(target)?;
        let dictionary = self.folder.join("dictionaries").join(target);
        if dictionary.exists() {
            program.arg(format!("-dict={}", dictionary.display()));
        }
        program.arg("-print_final_stats=1").arg(format!("-seed={seed}"));
        program.arg(match bound {
            Bound::Seconds(seconds) => format!("-max_total_time={seconds}"),
            Bound::Inputs(inputs) => format!("-runs={inputs}"),
        });
        program.arg(&grown).arg(&kept).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let logs = self.target.join("fuzz-logs");
        create(&logs)?;
        let log = logs.join(format!("{target}.log"));
        let passed = watch(program, target, &log)?;
        let (text, took) = (read(&log)?, started.elapsed().as_secs());
        if passed {
            let rate =
                text.lines().find_map(|line| line.strip_prefix("stat::average_exec_per_sec:"));
            let rate = rate.map_or("?", str::trim);
            println!("{target:<10} {took:>3} s  {}, {rate} a second, seed {seed}", progress(&text));
            return Ok(true);
        }
        println!("{target:<10} {took:>3} s  FAILED with seed {seed}\n");
        let told = text.lines().skip_while(|line| !line.contains("panicked at"));
        told.take(20).for_each(|line| println!("{line}"));
        if let Some(input) = text.lines().rev().find_map(|line| line.split("written to ").nth(1)) {
            println!("\nrepeat it with: cargo xtask fuzz {target} --replay {input}");
        }
        println!("the fuzzer's whole output: {}\n", log.display());
        Ok(false)
    }

    fn replay(&self, target: &str, files: &[PathBuf]) -> Outcome {
        let files: Vec<PathBuf> = files
            .iter()
            .map(|file| fs::canonicalize(file).map_err(|error| at(file, &error)))
            .collect::<Outcome<_>>()?;
        self.build(&[target.to_owned()])?;
        let mut program = self.program(target)?;
        if std::env::var_os("RUST_BACKTRACE").is_none() {
            program.env("RUST_BACKTRACE", "1");
        }
        program.args(files);
        run_command(program)
    }

    /// Inputs that were given a name stay; the others, named by their hash, are chosen anew.
    fn minimise(&self, target: &str) -> Outcome {
        let (kept, corpora) =
            (self.folder.join("corpus").join(target), self.target.join("fuzz-corpus"));
        let (grown, merged, list) =
            (corpora.join(target), corpora.join("list-kept"), corpora.join("list"));
        for folder in [&kept, &grown] {
            create(folder)?;
        }
        copy_all(&kept, &grown)?;
        let _ = fs::remove_dir_all(&merged);
        let _ = fs::remove_file(&list);
        create(&merged)?;
        let mut program = self.program(target)?;
        program.arg("-set_cover_merge=1").arg(format!("-merge_control_file={}", list.display()));
        program.arg(&merged).arg(&grown).stderr(Stdio::null());
        run_command(program)?;
        for path in files_in(&kept)?.into_iter().filter(|path| is_hash(path)) {
            fs::remove_file(&path).map_err(|error| at(&path, &error))?;
        }
        for chosen in choose::inputs(&read(&list)?) {
            let from = PathBuf::from(chosen);
            if is_hash(&from) {
                let to = kept.join(from.file_name().unwrap_or_default());
                fs::copy(&from, &to).map_err(|error| at(&from, &error))?;
            }
        }
        println!("{target}: {} inputs", files_in(&kept)?.len());
        Ok(())
    }
}

/// Runs a fuzzer to its end, shows how far it is, and keeps what it prints.
fn watch(mut program: Command, target: &str, log: &Path) -> Outcome<bool> {
    let name = PathBuf::from(program.get_program());
    let mut child = program.spawn().map_err(|error| at(&name, &error))?;
    let mut log = fs::File::create(log).map_err(|error| at(log, &error))?;
    let terminal = std::io::stdout().is_terminal();
    let every = Duration::from_secs(if terminal { 1 } else { 10 });
    let (started, mut shown) = (Instant::now(), Instant::now());
    let printed = BufReader::new(child.stderr.take().expect("its standard error is piped"));
    for line in printed.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        writeln!(log, "{line}").map_err(|error| Failed(format!("cannot write a log: {error}")))?;
        if shown.elapsed() >= every && line.starts_with('#') {
            shown = Instant::now();
            let end = if terminal { "\u{1b}[K\r" } else { "\n" };
            print!("{target:<10} {:>3} s  {}{end}", started.elapsed().as_secs(), progress(&line));
            let _ = std::io::stdout().flush();
        }
    }
    let status = child.wait().map_err(|error| at(&name, &error))?;
    Ok(status.success())
}

/// The latest line in which a fuzzer says how far it is, as a few words.
fn progress(text: &str) -> String {
    let words = |line: &str| {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        let inputs = words.next()?.to_owned();
        let words: Vec<&str> = words.collect();
        let after = |name: &str| {
            let index = words.iter().position(|word| *word == name)?;
            words.get(index + 1).map(|word| word.split('/').next().unwrap_or(word).to_owned())
        };
        Some(format!("{inputs} inputs, {} edges, {} kept", after("cov:")?, after("corp:")?))
    };
    text.lines().rev().find_map(words).unwrap_or_default()
}

fn is_hash(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.chars().all(|c| c.is_ascii_hexdigit())
}

fn any_seed() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().subsec_nanos()
}

fn files_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn copy_all(from: &Path, to: &Path) -> Outcome {
    for path in files_in(from)? {
        let name = path.file_name().unwrap_or_default();
        fs::copy(&path, to.join(name)).map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

fn create(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))
}

fn read(path: &Path) -> Outcome<String> {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}
