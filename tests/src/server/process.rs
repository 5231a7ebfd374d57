//! Processes that never outlive the program that started them, even when it is killed.

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Reads which processes there are, and at the end of its input kills those that are left. The
/// kernel closes its input however this program ends.
const GUARD: &str = r#"
trap '' HUP INT TERM
running=' '
while read -r change pid; do
    case $change in
        +) running="$running$pid " ;;
        -)
            case $running in
                *" $pid "*) running="${running%% $pid *} ${running#* $pid }" ;;
            esac
            ;;
    esac
done
for pid in $running; do kill -9 "$pid"; done
"#;

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// What the operating system says, `NotFound` when there is no such program.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        tell_guard('+', child.id());
        Ok(Self { child, ended: None })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A process that has ended takes none.
    pub fn signal(&self, signal: Signal) {
        // The number is ours only until the process has been waited for.
        if self.ended.is_none() {
            let _ = kill(self.pid(), signal);
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("one's own child can be waited for");
            if self.ended.is_some() {
                tell_guard('-', self.child.id());
            }
        }
        self.ended
    }

    /// How it ends, if it does before an instant.
    pub fn ended_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            // The one portable way to wait for a child with a deadline is to look again.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it at once, as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::SIGKILL);
        self.ended = Some(self.child.wait().expect("one's own child can be waited for"));
        tell_guard('-', self.child.id());
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process numbers are positive"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tell_guard(change: char, pid: u32) {
    static GUARD_PROCESS: OnceLock<Mutex<Child>> = OnceLock::new();
    let guard = GUARD_PROCESS.get_or_init(|| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).stdin(Stdio::piped());
        // In a group of its own: a key pressed in the terminal must not end it before the others.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(command.spawn().expect("sh runs"))
    });
    let mut guard = guard.lock().expect("nobody panics in here");
    let stdin = guard.stdin.as_mut().expect("its input is a pipe");
    writeln!(stdin, "{change} {pid}").expect("the guard reads for as long as this program runs");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn a_process_is_killed_when_it_is_dropped() {
        let process = Process::start(&mut sleeper()).unwrap();
        let pid = process.id().to_string();
        assert!(is_alive(&pid));
        drop(process);
        assert!(!is_alive(&pid));
    }

    #[test]
    fn the_end_of_a_process_is_seen_once_it_is_there() {
        let mut process = Process::start(&mut sleeper()).unwrap();
        assert!(process.ended().is_none());
        process.kill();
        assert!(!process.ended().unwrap().success());
    }

    /// Goal: the guard kills what is left when its input ends, and only that.
    #[test]
    fn the_guard_kills_what_is_left() {
        let mut guard = Command::new("sh");
        let mut guard = guard.args(["-c", GUARD]).stdin(Stdio::piped()).spawn().unwrap();
        let mut left = sleeper().spawn().unwrap();
        let mut gone: Vec<Child> = (0..3).map(|_| sleeper().spawn().unwrap()).collect();
        let mut stdin = guard.stdin.take().unwrap();
        writeln!(stdin, "+ {}", gone[0].id()).unwrap();
        writeln!(stdin, "+ {}", left.id()).unwrap();
        writeln!(stdin, "+ {}", gone[1].id()).unwrap();
        writeln!(stdin, "+ {}", gone[2].id()).unwrap();
        for child in gone.iter().chain(&gone) {
            writeln!(stdin, "- {}", child.id()).unwrap();
        }
        drop(stdin);
        assert!(guard.wait().unwrap().success());
        assert!(!left.wait().unwrap().success());
        for child in &mut gone {
            assert!(child.try_wait().unwrap().is_none(), "the guard was told to leave it");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn an_end_is_waited_for_until_its_deadline() {
        let mut process = Process::start(&mut sleeper()).unwrap();
        let (begin, a_moment) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(process.ended_by(begin + a_moment), None);
        assert!(begin.elapsed() >= a_moment);
        process.signal(Signal::SIGTERM);
        assert!(!process.ended_by(begin + Duration::from_secs(60)).unwrap().success());
    }

    /// Goal: a killed program leaves no process behind. It is this test, run again as a child.
    #[test]
    fn a_killed_program_leaves_nothing() {
        if std::env::var_os("FF_TESTS_BE_KILLED").is_some() {
            let process = Process::start(&mut sleeper()).unwrap();
            println!("\nsleeper {}", process.id());
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args([
            "--exact",
            "--nocapture",
            "server::process::tests::a_killed_program_leaves_nothing",
        ]);
        program.env("FF_TESTS_BE_KILLED", "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = program.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let sleeper =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("sleeper ")?.to_owned()));
        let sleeper = sleeper.expect("the child tells its sleeper");
        assert!(is_alive(&sleeper));
        program.kill().unwrap();
        program.wait().unwrap();
        crate::server::wait_for("the end of the sleeper", || (!is_alive(&sleeper)).then_some(()));
    }
}
