//! The `INFO` of a server, and whether the server is fit to hold executions.

use ff_core::backend::{Finding, FindingLevel};
use ff_core::store::Failure;
use redis::cmd;

use super::node::Node;

/// The reply of a server to `INFO`.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerInfo {
    text: String,
    /// Whether sentinels watch the server. They listen on a channel of it.
    pub(super) has_sentinels: bool,
}

impl ServerInfo {
    /// Reads the `INFO` of a server.
    pub(super) async fn of(node: &Node) -> Result<Self, Failure> {
        let text = redis::from_redis_value(node.ask(cmd("INFO").arg("everything")).await?);
        let text = text.map_err(|error| node.close(&format!("malformed INFO: {error}")))?;
        Ok(Self { text, has_sentinels: false })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// A number; 0 if the server does not report it.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.field(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The processor time of the server, user and system, in microseconds.
    pub(super) fn cpu_us(&self) -> u64 {
        let seconds =
            |name| self.field(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        ((seconds("used_cpu_user") + seconds("used_cpu_sys")) * 1e6) as u64
    }

    /// Returns whether the server is part of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.field("cluster_enabled") == Some("1")
    }

    /// The server and its version.
    pub(super) fn version(&self) -> String {
        match self.field("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", self.field("redis_version").unwrap_or("?")),
        }
    }

    /// The findings about version, role and eviction policy.
    pub(super) fn findings(&self, node: &str, allow_eviction: bool) -> Vec<Finding> {
        let policy = self.check_policy(node, allow_eviction);
        vec![self.check_version(node), self.check_role(node), policy]
    }

    /// The finding about the programs that wait for wake-ups, for a store without a configuration.
    /// Such programs have connected to a store that had one.
    pub(super) fn check_programs(&self, node: &str) -> Option<Finding> {
        let channels = self.number("pubsub_channels");
        let detail = match channels.saturating_sub(u64::from(self.has_sentinels)) {
            0 => return None,
            channels => format!("missing, but programs wait for wake-ups on {channels} channels"),
        };
        let subject = format!("configuration on {node}");
        let advice = "the store has lost its data: restore a backup, or restart all programs";
        Some(Finding::new(FindingLevel::Problem, &subject, detail).advise(advice))
    }

    fn check_version(&self, node: &str) -> Finding {
        let (wanted, text) = match self.field("valkey_version") {
            Some(text) => ((7, 2), text),
            None => ((7, 0), self.field("redis_version").unwrap_or("0.0")),
        };
        let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let subject = format!("version of {node}");
        if found >= wanted {
            return Finding::new(FindingLevel::Good, &subject, self.version());
        }
        Finding::new(FindingLevel::Problem, &subject, self.version())
            .advise("use Valkey 7.2 or later, or Redis 7.0 or later")
    }

    fn check_role(&self, node: &str) -> Finding {
        let subject = format!("role of {node}");
        if self.field("role") == Some("slave") {
            return Finding::new(FindingLevel::Problem, &subject, "replica")
                .advise("connect to the primary");
        }
        Finding::new(FindingLevel::Good, &subject, "primary")
    }

    /// A store must not evict keys: they hold acknowledged work. No key of the store has a ttl, so
    /// policies that evict only keys with a ttl are fine.
    fn check_policy(&self, node: &str, allow_eviction: bool) -> Finding {
        let policy = self.field("maxmemory_policy").unwrap_or("unknown");
        let subject = format!("maxmemory-policy of {node}");
        if policy == "noeviction" || policy.starts_with("volatile-") {
            return Finding::new(FindingLevel::Good, &subject, policy);
        }
        let level = if allow_eviction { FindingLevel::Warning } else { FindingLevel::Problem };
        Finding::new(level, &subject, policy).advise(
            "the server would drop executions when its memory is full: set maxmemory-policy to \
             noeviction, or add ?allow_eviction=true to the URL to accept that risk",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(text: &str, allow_eviction: bool) -> FindingLevel {
        let info = ServerInfo { text: text.to_owned(), ..ServerInfo::default() };
        let levels = info.findings("node", allow_eviction).into_iter().map(|found| found.level);
        levels.max().unwrap()
    }

    #[test]
    fn a_server_that_would_lose_work_is_unfit() {
        let info = |version: &str, policy: &str, role: &str| {
            format!("{version}\r\nrole:{role}\r\nmaxmemory_policy:{policy}\r\n")
        };
        let new = "redis_version:7.2.4\r\nvalkey_version:8.0.1";
        let cases = [
            (info(new, "noeviction", "master"), FindingLevel::Good),
            (info(new, "volatile-lru", "master"), FindingLevel::Good),
            (info(new, "allkeys-lru", "master"), FindingLevel::Problem),
            (info(new, "noeviction", "slave"), FindingLevel::Problem),
            (info("redis_version:7.0.15", "noeviction", "master"), FindingLevel::Good),
            (info("redis_version:6.2.1", "noeviction", "master"), FindingLevel::Problem),
        ];
        for (text, level) in cases {
            assert_eq!(worst(&text, false), level, "{text}");
        }
        assert_eq!(worst(&info(new, "allkeys-lru", "master"), true), FindingLevel::Warning);
    }

    #[test]
    fn numbers_are_parsed() {
        let text = "used_cpu_sys:1.25\r\nused_cpu_user:0.5\r\nused_memory:77\r\n".to_owned();
        let info = ServerInfo { text, ..ServerInfo::default() };
        assert_eq!((info.cpu_us(), info.number("used_memory")), (1_750_000, 77));
    }
}
