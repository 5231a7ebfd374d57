//! The guard: a process that kills the commands if this process ends without doing so, for example
//! by SIGKILL.
//!
//! It reads the process groups of the commands from a pipe, which the operating system closes at
//! the end of this process, however it ends. `PR_SET_PDEATHSIG` would need unsafe code, exists only
//! on Linux, and reaches only the shell of a command, not the processes that the shell started.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::unistd::Pid;

/// Keeps the groups of the lines `+ GROUP`, without those of the lines `- GROUP`. Kills them when
/// standard input ends.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=" "
while read -r action group; do
    case $action in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
"#;

/// The pipe to the guard; `None` if it could not be started, or was killed.
static GUARD: LazyLock<Mutex<Option<ChildStdin>>> = LazyLock::new(|| {
    let started = Command::new("sh")
        .args(["-c", SCRIPT, "ff-guard"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to the group of this process must not reach it.
        .process_group(0)
        .spawn();
    Mutex::new(started.ok().and_then(|mut guard| guard.stdin.take()))
});

/// Starts the guard, unless it runs. Called before a command is started, so that the guard learns
/// of the command's group immediately.
pub fn start() {
    LazyLock::force(&GUARD);
}

/// Reports the process group of a command that was started.
pub fn started(group: Pid) {
    write(&format!("+ {group}\n"));
}

/// Reports that a process group was ended.
pub fn ended(group: Pid) {
    write(&format!("- {group}\n"));
}

fn write(line: &str) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.as_mut().is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_err()) {
        *guard = None;
    }
}
