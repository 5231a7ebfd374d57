//! The audit: finds faults of a store without changing it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::backend::{EngineBackend, Finding, FindingLevel};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::id::Namespace;
use ff_core::op::{
    AuditLook, AuditPartition, FindOutside, FoundMeta, HOLD, OVERDUE, OperationContext, Patience,
    QueueName, ReadMeta, Suspect,
};
use ff_core::partition::Partition;
use ff_core::store::StoreMeta;
use ff_core::store::codec::Codec;
use ff_core::store_id::StoreId;
use ff_core::time::DurationMs;

use crate::drive::drive;
use crate::error::SdkError;
use crate::host::{HostClock, system_entropy};
use crate::shared::lock;

/// Examines a store for faults (`docs/spec.md`, Stores). It changes nothing: connecting does not
/// set up an empty store.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{Auditor, Client, MemoryBackend, Namespace, Submission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// client.submit(Submission::new("greet")).await?;
///
/// let auditor = Auditor::connect(backend).await?;
/// let report = auditor.audit(&Namespace::try_new("demo")?, 1_000, |_| {}).await?;
/// assert!(report.faults.is_empty());
/// assert_eq!(report.executions, 1);
/// # Ok(())
/// # }
/// ```
pub struct Auditor {
    backend: Arc<dyn EngineBackend>,
    clock: HostClock,
    codec: Codec,
    entropy: Mutex<Entropy>,
    meta: Option<FoundMeta>,
}

/// The time limit of each call of the audit.
const PATIENCE: DurationMs = DurationMs::from_secs(30);
/// The pause before suspects are checked again: longer than workers hold entries that they took.
const PAUSE: Duration = Duration::from_millis(HOLD.get() + 1_000);
/// The advice for a store without a configuration that is in use.
const LOST_ADVICE: &str = "the store has lost its data: restore a backup, or restart all programs";
/// The number of executions that a finding names.
const EXAMPLES: usize = 3;

/// The progress of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditProgress {
    /// It reads the partitions.
    Looking {
        /// Partitions read so far.
        done: u64,
        /// All partitions.
        total: u64,
    },
    /// It has found suspects, and waits before it checks them again, since they may be changes in
    /// progress.
    Waiting {
        /// Partitions with suspects.
        suspicious: u64,
        /// The length of the wait.
        pause: Duration,
    },
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct AuditReport {
    /// Partitions that were read.
    pub partitions: u64,
    /// Partitions with more entries than the limit; only a part of them was read.
    pub partial: u64,
    /// Executions of the namespace that were read.
    pub executions: u64,
    /// Records of a newer format, which were skipped.
    pub newer_format: u64,
    /// Entries of any namespace that have been due for more than a minute.
    pub overdue: u64,
    /// Executions of the namespace that wait for a worker with their capabilities.
    pub unroutable: u64,
    /// The faults; each was found twice, with a pause in between.
    pub faults: Vec<Suspect>,
    /// Partitions that hold executions but are not in the store's configuration.
    pub outside: Vec<Partition>,
}

impl Auditor {
    /// Connects to a store and reads its configuration.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, or its configuration cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let (clock, mut entropy) = (HostClock::new(), system_entropy());
        let codec = Codec::default();
        let context = OperationContext::new(PATIENCE, codec.clone());
        let read = ReadMeta::new(Patience::new(context, entropy.fork()));
        let meta = drive(&*backend, &clock, read).await?;
        Ok(Self { backend, clock, codec, entropy: Mutex::new(entropy), meta })
    }

    /// The identity of the store; `None` when the store is not set up yet.
    pub fn store_id(&self) -> Option<StoreId> {
        self.meta.as_ref().map(|found| found.id)
    }

    /// The store's configuration; `None` when the store is not set up yet.
    pub fn meta(&self) -> Option<&StoreMeta> {
        self.meta.as_ref().map(|found| &found.meta)
    }

    /// Returns the backend's findings about its servers, and findings about the store's
    /// configuration.
    ///
    /// # Errors
    ///
    /// [`SdkError::Backend`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn examine(&self) -> Result<Vec<Finding>, SdkError> {
        let backend = self.backend.name();
        let failed = |source| SdkError::Backend { backend, source };
        let mut findings = self.backend.examine().await.map_err(failed)?;
        findings.extend(match &self.meta {
            Some(found) => {
                let good = |subject, detail| Finding::new(FindingLevel::Good, subject, detail);
                vec![
                    good("store ID", found.id.to_string()),
                    format_finding(found.meta.format, self.codec.known()),
                    partitions_finding(&found.meta),
                ]
            }
            // The backend has found the programs that use the store nevertheless.
            None if findings.iter().any(|one| one.level == FindingLevel::Problem) => Vec::new(),
            None => {
                let detail = "empty: no worker or client has set up this store yet";
                vec![Finding::new(FindingLevel::Good, "configuration", detail)]
            }
        });
        Ok(findings)
    }

    /// Compares the indexes of all partitions with the records of a namespace. It reads at most
    /// `limit` entries of each index in each partition. Suspects are checked again after a pause of
    /// 6 s, since records change during the audit, and a worker may hold entries that it took for
    /// 5 s. An execution that is in no index is not found. If the store has no configuration, this
    /// only looks for executions of the namespace.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn audit(
        &self,
        namespace: &Namespace,
        limit: usize,
        mut progress: impl FnMut(AuditProgress) + Send,
    ) -> Result<AuditReport, SdkError> {
        let mut report = AuditReport::default();
        let Some(FoundMeta { meta, .. }) = &self.meta else {
            report.outside = self.outside(0, namespace).await?;
            return Ok(report);
        };
        let total = u64::from(meta.partitions.num_flow_partitions);
        let mut queues = BTreeSet::new();
        let mut suspicious = Vec::new();
        for (done, partition) in (0..).zip(meta.partitions.flow_partitions()) {
            progress(AuditProgress::Looking { done, total });
            let look = self.look(partition, namespace, &mut queues, limit).await?;
            report.add(&look);
            if !look.suspects.is_empty() {
                suspicious.push((partition, look));
            }
        }
        if !suspicious.is_empty() {
            let pause = PAUSE;
            let count = suspicious.len() as u64;
            progress(AuditProgress::Waiting { suspicious: count, pause });
            tokio::time::sleep(pause).await;
        }
        for (partition, first) in suspicious {
            let second = self.look(partition, namespace, &mut queues, limit).await?;
            report.faults.extend(second.confirms(&first));
        }
        report.outside = self.outside(meta.partitions.num_flow_partitions, namespace).await?;
        progress(AuditProgress::Looking { done: total, total });
        Ok(report)
    }

    /// Finds the partitions from the given one on that hold executions.
    async fn outside(
        &self,
        from: u16,
        namespace: &Namespace,
    ) -> Result<Vec<Partition>, EngineError> {
        let find = FindOutside::new(from, namespace.clone(), self.patience());
        drive(&*self.backend, &self.clock, find).await
    }

    /// Reads a partition once. Queues found in it are also read in the partitions after it.
    async fn look(
        &self,
        partition: Partition,
        namespace: &Namespace,
        queues: &mut BTreeSet<QueueName>,
        limit: usize,
    ) -> Result<AuditLook, SdkError> {
        let (namespace, known) = (namespace.clone(), queues.iter().cloned());
        let operation = AuditPartition::new(partition, namespace, known, limit, self.patience());
        let look = drive(&*self.backend, &self.clock, operation).await?;
        queues.extend(look.queues.iter().cloned());
        Ok(look)
    }

    fn patience(&self) -> Patience {
        let context = OperationContext::new(PATIENCE, self.codec.clone());
        Patience::new(context, lock(&self.entropy).fork())
    }
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl AuditReport {
    fn add(&mut self, look: &AuditLook) {
        self.partitions += 1;
        self.partial += u64::from(look.partial);
        self.executions += look.executions;
        self.newer_format += look.newer_format;
        self.overdue += look.overdue;
        self.unroutable += look.unroutable;
    }

    /// Returns the report as findings: one for each kind of fault, with up to three executions.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut kinds: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for suspect in &self.faults {
            let kind = (suspect.fault.title(), suspect.fault.advice());
            kinds.entry(kind).or_default().push(suspect.execution.to_string());
        }
        for ((title, advice), executions) in kinds {
            let detail = format!("{} {title}: {}", count(executions.len()), named(&executions));
            findings.push(Finding::new(FindingLevel::Problem, "audit", detail).advise(advice));
        }
        if !self.outside.is_empty() {
            let partitions: Vec<_> = self.outside.iter().map(Partition::to_string).collect();
            let (what, advice) = match self.partitions {
                0 => ("executions, but the store's configuration is missing", LOST_ADVICE),
                _ => (
                    "executions in partitions that do not exist",
                    "workers do not read them. The partition counts of a store must never \
                     change: restore the store's configuration",
                ),
            };
            let detail = format!("{what}: {}", named(&partitions));
            findings.push(Finding::new(FindingLevel::Problem, "audit", detail).advise(advice));
        }
        findings.extend(self.warnings());
        if findings.is_empty() && self.partitions > 0 {
            let detail = format!(
                "{} in {} partitions; all indexes match the records",
                count(self.executions as usize),
                self.partitions
            );
            findings.push(Finding::new(FindingLevel::Good, "audit", detail));
        }
        findings
    }

    fn warnings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut warn = |number: u64, detail: String, advice: &str| {
            if number > 0 {
                let finding = Finding::new(FindingLevel::Warning, "audit", detail);
                findings.push(finding.advise(advice));
            }
        };
        let detail = format!("{} of a newer format, skipped", count(self.newer_format as usize));
        warn(self.newer_format, detail, "update this program to check them");
        let seconds = OVERDUE.get() / 1_000;
        let detail = format!("{} overdue by more than {seconds} s", count(self.overdue as usize));
        let advice = "no timekeeper applies due timers: run a worker, for example ff work";
        warn(self.overdue, detail, advice);
        let waiting = count(self.unroutable as usize);
        let detail = format!("{waiting} waiting for a capable worker");
        warn(self.unroutable, detail, "run a worker that has the capabilities they require");
        let detail = format!("{} partitions with more entries than the limit", self.partial);
        warn(self.partial, detail, "raise the limit to check all entries");
        findings
    }
}

fn count(number: usize) -> String {
    match number {
        1 => "1 execution".to_owned(),
        number => format!("{number} executions"),
    }
}

/// The first few names, and how many more there are.
fn named(names: &[String]) -> String {
    let mut text = names.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > EXAMPLES {
        text.push_str(&format!(" and {} more", names.len() - EXAMPLES));
    }
    text
}

fn format_finding(active: u8, known: u8) -> Finding {
    let detail = format!("format {active} is active; this program knows formats up to {known}");
    if active > known {
        Finding::new(FindingLevel::Problem, "format", detail).advise("update this program")
    } else {
        Finding::new(FindingLevel::Good, "format", detail)
    }
}

fn partitions_finding(meta: &StoreMeta) -> Finding {
    let partitions = meta.partitions;
    let detail = format!(
        "{} for executions, {} for budgets, {} for quotas",
        partitions.num_flow_partitions,
        partitions.num_budget_partitions,
        partitions.num_quota_partitions
    );
    Finding::new(FindingLevel::Good, "partitions", detail)
}
