//! Sentinels that watch one primary.

use std::fs;
use std::process::{Command, Stdio};

use redis::{RedisResult, Value};
use tempfile::TempDir;

use super::{PATIENCE, Process, Server, free_port, wait_for};

/// The name under which the sentinels watch the primary.
pub const SERVICE: &str = "store";

/// Three sentinels on free loopback ports, which watch one primary. They are killed when this is
/// dropped.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<Sentinel>,
    password: Option<String>,
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    process: Process,
    _folder: TempDir,
}

impl Sentinels {
    /// Starts three sentinels of a primary with one replica, and waits until they know each other
    /// and the replica. They report the primary as down after half a second.
    pub fn of(primary: &Server) -> Self {
        Self::with_passwords(primary, None, None)
    }

    /// The same for a primary with a password, and with a password of the sentinels.
    ///
    /// # Panics
    ///
    /// When a sentinel does not start.
    pub fn with_passwords(primary: &Server, own: Option<&str>, of_primary: Option<&str>) -> Self {
        let start = || Sentinel::start(primary, own, of_primary);
        let sentinels = (0..3).map(|_| start()).collect();
        let sentinels = Self { sentinels, password: own.map(str::to_owned) };
        for number in 0..3 {
            wait_for("the sentinels to know each other and the replica", || {
                let known = sentinels.command(number, &["SENTINEL", "MASTER", SERVICE]).ok()?;
                let fields: Vec<String> = redis::from_redis_value(known).ok()?;
                let field = |name: &str| {
                    let at = fields.iter().position(|field| field == name)?;
                    fields.get(at + 1).cloned()
                };
                let knows = field("num-other-sentinels")? == "2" && field("num-slaves")? == "1";
                (knows && field("flags")? == "master").then_some(())
            });
        }
        sentinels
    }

    /// The store URL.
    pub fn url(&self) -> String {
        let each = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        format!("valkey-sentinel://{}/{SERVICE}", each.collect::<Vec<_>>().join(","))
    }

    /// Begins a failover to the replica.
    ///
    /// # Panics
    ///
    /// When the sentinel refuses.
    pub fn fail_over(&self) {
        self.command(0, &["SENTINEL", "FAILOVER", SERVICE]).expect("the failover begins");
    }

    /// Kills a sentinel.
    pub fn kill(&mut self, number: usize) {
        self.sentinels[number].process.kill();
    }

    /// The port of the primary, according to a sentinel.
    pub fn primary(&self, number: usize) -> Option<u16> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let (_, port): (String, u16) =
            redis::from_redis_value(self.command(number, &ask).ok()?).ok()?;
        Some(port)
    }

    fn command(&self, number: usize, args: &[&str]) -> RedisResult<Value> {
        let user = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        let url = format!("redis://{user}127.0.0.1:{}", self.sentinels[number].port);
        let mut connection = redis::Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
        let mut command = redis::Cmd::new();
        command.arg(args).query(&mut connection)
    }
}

impl Sentinel {
    fn start(primary: &Server, own: Option<&str>, of_primary: Option<&str>) -> Self {
        let folder = tempfile::Builder::new().prefix("ff-sentinel-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let port = free_port();
        let mut config = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\n\
             sentinel monitor {SERVICE} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 5000\n",
            folder.path().display(),
            primary.port(),
        );
        if let Some(password) = own {
            config += &format!("requirepass {password}\n");
        }
        if let Some(password) = of_primary {
            config += &format!("sentinel auth-pass {SERVICE} {password}\n");
        }
        let path = folder.path().join("sentinel.conf");
        fs::write(&path, config).expect("the folder can be written to");
        let mut command = Command::new("valkey-server");
        command.arg(path).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(&mut command).unwrap_or_else(|error| {
            panic!("cannot run valkey-server: {error}; install it with scripts/setup")
        });
        Self { port, process, _folder: folder }
    }
}
