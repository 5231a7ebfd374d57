//! Child processes that never outlive the program that started them, even when it is killed.

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A script that reads the ids of started and ended processes, and kills the remaining ones at the
/// end of its input. The kernel closes its input however this program ends.
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
    /// The error of the operating system; `NotFound` when there is no such program.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        notify_guard('+', child.id());
        Ok(Self { child, ended: None })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        // After the process was waited for, its id may belong to another one.
        if self.ended.is_none() {
            let _ = kill(self.pid(), signal);
        }
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                notify_guard('-', self.child.id());
            }
        }
        self.ended
    }

    /// Waits until it ends, at most until a deadline; returns its exit status.
    pub fn ended_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            // The only portable way to wait for a child with a deadline is polling.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it with SIGKILL, like a crash, and waits for its end.
    pub fn kill(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::SIGKILL);
        self.ended = Some(self.child.wait().expect("a child can be waited for"));
        notify_guard('-', self.child.id());
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

fn notify_guard(change: char, pid: u32) {
    static GUARD_PROCESS: OnceLock<Mutex<Child>> = OnceLock::new();
    let guard = GUARD_PROCESS.get_or_init(|| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).stdin(Stdio::piped());
        // In its own process group: Ctrl-C in the terminal must not end it before the others.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(command.spawn().expect("sh runs"))
    });
    let mut guard = guard.lock().expect("no holder panics");
    let stdin = guard.stdin.as_mut().expect("its input is a pipe");
    writeln!(stdin, "{change} {pid}").expect("the guard reads until this program ends");
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
    fn the_exit_status_is_known_after_the_end() {
        let mut process = Process::start(&mut sleeper()).unwrap();
        assert!(process.ended().is_none());
        process.kill();
        assert!(!process.ended().unwrap().success());
    }

    /// At the end of its input, the guard kills the remaining processes and no others.
    #[test]
    fn the_guard_kills_the_remaining_processes() {
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
            assert!(child.try_wait().unwrap().is_none(), "the guard does not kill it");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_wait_for_the_end_has_a_deadline() {
        let mut process = Process::start(&mut sleeper()).unwrap();
        let (begin, a_moment) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(process.ended_by(begin + a_moment), None);
        assert!(begin.elapsed() >= a_moment);
        process.signal(Signal::SIGTERM);
        assert!(!process.ended_by(begin + Duration::from_secs(60)).unwrap().success());
    }

    /// A killed program leaves no process behind. The program is this test, run as a child.
    #[test]
    fn a_killed_program_leaves_no_processes() {
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
            "server::process::tests::a_killed_program_leaves_no_processes",
        ]);
        program.env("FF_TESTS_BE_KILLED", "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = program.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let sleeper =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("sleeper ")?.to_owned()));
        let sleeper = sleeper.expect("the child prints the id of its sleeper");
        assert!(is_alive(&sleeper));
        program.kill().unwrap();
        program.wait().unwrap();
        crate::server::wait_for("the end of the sleeper", || (!is_alive(&sleeper)).then_some(()));
    }
}
