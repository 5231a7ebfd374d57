//! Generates `docs/states.md` from the observed behaviour of the rules, and `docs/errors.md` from
//! the table of errors. The tests fail if a page is out of date.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests read the pages, and write them if UPDATE_DOCS=1 is set"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::common::{at, attempt_id, execution_id, ms};
use crate::one_record::exploration::{
    Effect, OBSERVED, Place, TIME, command_names, place_name, places,
};
use ff_core::capability::CapabilityError;
use ff_core::error::{
    Applied, Bug, EngineError, ErrorRow, Missing, Rejection, RejectionKind, TABLE,
};
use ff_core::execution::Situation;
use ff_core::id::{
    BudgetId, Dimension, ExecutionIdError, LaneId, LeaseEpoch, QuotaId, QuotaKey, TextIdError,
    WorkerInstanceId,
};
use ff_core::policy::PolicyError;
use ff_core::quota_ref::QuotaRef;
use ff_core::state::{EligibilityState, LifecyclePhase, PublicState, TerminalOutcome};
use ff_core::store_id::StoreId;
use ff_core::tags::TagError;
use ff_core::time::TimestampMs;

const REFRESH: &str = "UPDATE_DOCS=1 cargo test -p ff-tests --test core docs";

#[test]
fn the_page_of_states_matches_the_rules() {
    check("docs/states.md", &states_page());
}

#[test]
fn the_page_of_errors_matches_the_table() {
    check("docs/errors.md", &errors_page());
}

#[test]
fn every_kind_of_rejection_has_one_sample() {
    let sampled: Vec<RejectionKind> = rejections().iter().map(Rejection::kind).collect();
    let kinds: Vec<RejectionKind> = TABLE.iter().map(|row| row.kind).collect();
    assert_eq!(sampled, kinds, "in the order of the table");
}

#[test]
fn every_variant_of_engine_error_has_one_sample() {
    let source = std::fs::read_to_string(root().join("core/src/error.rs")).expect("the source");
    let (_, body) = source.split_once("pub enum EngineError {\n").expect("the enum");
    let (body, _) = body.split_once("\n}\n").expect("its end");
    let variants = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| name[..end].to_owned())
    });
    let sampled: Vec<String> = engine_errors().iter().map(variant_name).collect();
    assert_eq!(sampled, variants.collect::<Vec<_>>());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a page with its expected text, or writes the text if `UPDATE_DOCS=1` is set.
#[track_caller]
fn check(page: &str, expected: &str) {
    let path = root().join(page);
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, expected).expect("the page can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(one, other)| one != other);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    assert!(found == expected, "{page} is out of date from line {line} on; refresh it: {REFRESH}");
}

fn generated(page: &mut String) {
    writeln!(page, "<!-- Generated. Refresh with: {REFRESH} -->\n").unwrap();
}

// --------------------------------------------------------------------------------------- states

fn states_page() -> String {
    let mut page = String::from("# States\n\n");
    generated(&mut page);
    page.push_str(
        "The observed behaviour of the rules. The generator starts without an execution. It tries \
         every\ncommand with valid and invalid arguments, and lets every due time pass, until it \
         finds no new kind\nof record. [spec.md, 4](spec.md#4-commands-on-executions) defines the \
         behaviour.\n\n## Situations\n\n| situation | meaning |\n| --- | --- |\n",
    );
    for place in places() {
        writeln!(page, "| {} | {} |", place_name(place), meaning(place)).unwrap();
    }
    page.push_str(
        "\n## Transitions\n\nEach arrow names the commands that cause the transition. `time` means \
         that a due time has passed and\nno process has applied it yet. Commands that keep the \
         situation are not drawn.\n\n```mermaid\nstateDiagram-v2\n",
    );
    page.push_str(&diagram());
    page.push_str(
        "```\n\n## Effects\n\nEach cell lists the situations that a command leads to. _kept_: the \
         record stays, and its index\nentries are written again. _repeat_: the command is \
         recognised as a copy of an earlier one and has\nno effect. An empty cell: every variant \
         of the command was refused.\n\n",
    );
    page.push_str(&effects());
    page.push_str(
        "\n## Refusals\n\nThe rejections of each command in each situation. [errors.md](errors.md) \
         explains the rejections.\n\n| command | situation | rejections |\n| --- | --- | --- |\n",
    );
    page.push_str(&refusals());
    page
}

fn meaning(place: Place) -> &'static str {
    match place {
        None => "the execution does not exist, or its retention is over",
        Some(Situation::Waiting) => "eligible; a claim starts a new attempt",
        Some(Situation::Granted) => "a worker holds a valid grant",
        Some(Situation::Delayed) => "not eligible before a time",
        Some(Situation::Blocked) => "not eligible: at least one block is set",
        Some(Situation::Interrupted) => "eligible; a claim continues the interrupted attempt",
        Some(Situation::Leased) => "a worker holds a valid lease",
        Some(Situation::Expired) => "the lease expired",
        Some(Situation::Revoked) => "the lease was revoked",
        Some(Situation::Suspended) => "waits for signals, an operator or a timeout",
        Some(Situation::Terminal) => "ended",
    }
}

/// Returns all commands in their order, followed by the passing of time.
fn causes() -> Vec<String> {
    command_names().into_iter().chain([TIME.to_owned()]).collect()
}

fn diagram() -> String {
    let mut moves: BTreeMap<(Place, Place), BTreeSet<&str>> = BTreeMap::new();
    for seen in OBSERVED.iter() {
        if let Effect::Becomes(to) = seen.effect
            && to != seen.from
        {
            moves.entry((seen.from, to)).or_default().insert(seen.command);
        }
    }
    let point = |place: Place| place.map_or("[*]", Situation::as_str);
    let mut text = String::new();
    for ((from, to), commands) in moves {
        let ordered: Vec<String> =
            causes().into_iter().filter(|cause| commands.contains(cause.as_str())).collect();
        writeln!(text, "    {} --> {}: {}", point(from), point(to), ordered.join(", ")).unwrap();
    }
    text
}

fn effects() -> String {
    let mut text = String::from("| command |");
    places().for_each(|place| write!(text, " {} |", place_name(place)).unwrap());
    text.push_str("\n| --- |");
    places().for_each(|_| text.push_str(" --- |"));
    text.push('\n');
    for command in command_names() {
        write!(text, "| {command} |").unwrap();
        for place in places() {
            let cell: Vec<&str> = effects_of(&command, place).into_iter().collect();
            let space = if cell.is_empty() { "" } else { " " };
            write!(text, "{space}{} |", cell.join(", ")).unwrap();
        }
        text.push('\n');
    }
    text
}

/// Returns the observed effects of a command in a situation, without refusals: first the next
/// situations, then `_kept_` and `_repeat_`.
fn effects_of(command: &str, place: Place) -> Vec<&'static str> {
    let seen = |effect: Effect| {
        let here = OBSERVED.iter().filter(|seen| seen.from == place && seen.command == command);
        here.into_iter().any(|seen| seen.effect == effect)
    };
    let next = places().skip(1).chain([None]).filter(|to| seen(Effect::Becomes(*to)));
    let mut cell: Vec<&str> = next.map(place_name).collect();
    if seen(Effect::Kept) {
        cell.push("_kept_");
    }
    if seen(Effect::Repeat) {
        cell.push("_repeat_");
    }
    cell
}

/// Writes a row for each command and set of rejections, with all situations that have this set.
fn refusals() -> String {
    let mut text = String::new();
    for command in command_names() {
        let mut rows: Vec<(Vec<&str>, BTreeSet<RejectionKind>)> = Vec::new();
        for place in places() {
            let here = OBSERVED.iter().filter(|seen| seen.from == place && seen.command == command);
            let kinds: BTreeSet<RejectionKind> = here
                .filter_map(|seen| match seen.effect {
                    Effect::Refused(kind) => Some(kind),
                    _ => None,
                })
                .collect();
            match rows.iter_mut().find(|(_, known)| *known == kinds) {
                Some((names, _)) => names.push(place_name(place)),
                None => rows.push((vec![place_name(place)], kinds)),
            }
        }
        for (names, kinds) in rows.into_iter().filter(|(_, kinds)| !kinds.is_empty()) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
            writeln!(text, "| {command} | {} | {} |", names.join(", "), kinds.join(", ")).unwrap();
        }
    }
    text
}

// --------------------------------------------------------------------------------------- errors

fn errors_page() -> String {
    let mut page = String::from("# Errors\n\n");
    generated(&mut page);
    page.push_str(
        "The reasons for which the engine refuses a command, and the errors that callers see. The \
         class says\nhow a caller should react:\n\n- _Terminal_: the same call never succeeds.\n- \
         _Retryable_: the same call may succeed later.\n- _Cooperative_: the caller no longer \
         owns the work and must stop working on it.\n- _Informational_: nothing is wrong; the \
         request is already satisfied, or no longer applies.\n- _Bug_: a defect of the engine or \
         of the data in its store.\n\n## Rejections\n\nA refused command changes nothing. The \
         messages are samples.\n\n| kind | message | variant | class | HTTP |\n| --- | --- | --- | \
         --- | --- |\n",
    );
    for (row, sample) in TABLE.iter().zip(rejections()) {
        let ErrorRow { name, variant, class, http_status, .. } = row;
        let message = cell(&sample.to_string());
        writeln!(page, "| `{name}` | {message} | {variant:?} | {class:?} | {http_status} |")
            .unwrap();
    }
    page.push_str(
        "\n## `EngineError`\n\nThe error of a call to the engine. The variants with a rejection \
         have its class and status.\n`Contextual` has the class and status of the error in it. \
         The messages are samples.\n\n| variant | message | class | HTTP |\n| --- | --- | --- | \
         --- |\n",
    );
    for error in engine_errors() {
        let (class, status) = match &error {
            EngineError::Validation { .. } | EngineError::Conflict(_) | EngineError::State(_) => {
                ("as above".to_owned(), "as above".to_owned())
            }
            EngineError::Contextual { .. } => {
                ("as its source".to_owned(), "as its source".to_owned())
            }
            other => (format!("{:?}", other.class()), other.http_status().to_string()),
        };
        let name = variant_name(&error);
        let message = cell(&error.to_string());
        writeln!(page, "| `{name}` | {message} | {class} | {status} |").unwrap();
    }
    page
}

/// Escapes a text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn variant_name(error: &EngineError) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text[..end].to_owned()
}

/// One rejection of each kind, in the order of the table.
fn rejections() -> Vec<Rejection> {
    let mut all = malformed();
    all.extend(conflicts());
    all.extend(states());
    all
}

fn malformed() -> Vec<Rejection> {
    vec![
        Rejection::NotFound,
        Rejection::PartitionOutOfRange { index: 300, count: 256 },
        Rejection::DeadlineNotInFuture { deadline: at(999), now: at(1_000) },
        Rejection::PayloadTooLarge { bytes: 1_048_577, limit: 1_048_576 },
        Rejection::InvalidPolicy { source: PolicyError::ZeroMultiplier },
        Rejection::InvalidCapabilities {
            source: CapabilityError::InvalidToken { token: "a,b".to_owned() },
        },
        Rejection::InvalidTagKey { source: TagError::InvalidTagKey { key: "Team".to_owned() } },
        Rejection::InvalidId { source: TextIdError::Empty { what: "lane" } },
        Rejection::InvalidExecutionId {
            source: ExecutionIdError::InvalidPartitionIndex { index: "007".to_owned() },
        },
        Rejection::InvalidInput {
            field: "lease_ttl_ms",
            problem: "is 0 ms, and must be 1 to 86400000 ms".to_owned(),
        },
        Rejection::FenceRequired,
        Rejection::PartialFenceTriple,
    ]
}

fn conflicts() -> Vec<Rejection> {
    vec![
        Rejection::LaneDraining {
            lane: LaneId::new("mail"),
            since: TimestampMs::new(5),
            reason: Some("a deploy".to_owned()),
        },
        Rejection::LaneDisabled {
            lane: LaneId::new("mail"),
            since: TimestampMs::new(5),
            reason: None,
        },
        Rejection::IdempotencyMismatch { existing: execution_id() },
        Rejection::GrantAlreadyExists { expires_at: at(1_000) },
        Rejection::Superseded { asked: 0, current: 1 },
    ]
}

fn states() -> Vec<Rejection> {
    let active = LifecyclePhase::Active;
    let runnable = LifecyclePhase::Runnable;
    vec![
        Rejection::StaleLease { lease_epoch: LeaseEpoch(2) },
        Rejection::ExecutionNotActive {
            terminal_outcome: TerminalOutcome::Cancelled,
            lease_epoch: LeaseEpoch(1),
            lifecycle_phase: LifecyclePhase::Terminal,
            attempt_id: Some(attempt_id(1)),
        },
        Rejection::OtherState { state: PublicState::Active },
        Rejection::LeaseRevoked,
        Rejection::LeaseExpired { expired_at: at(1_000) },
        Rejection::InvalidClaimGrant,
        Rejection::ClaimGrantExpired { expired_at: at(1_000) },
        Rejection::UseClaimResumedExecution,
        Rejection::NotAResumedExecution,
        Rejection::ExecutionNotLeaseable { lifecycle_phase: runnable },
        Rejection::ExecutionNotEligible {
            lifecycle_phase: runnable,
            eligibility: EligibilityState::NotEligibleUntilTime,
        },
        Rejection::CapabilityMismatch { missing: vec!["gpu".into(), "eu".into()] },
        Rejection::ExecutionNotReclaimable,
        Rejection::ReclaimCapExceeded { reclaims: 10 },
        Rejection::ExecutionNotRunnable { lifecycle_phase: active },
        Rejection::ExecutionNotTerminal { lifecycle_phase: active },
        Rejection::MaxReplaysExhausted { replays: 10 },
        Rejection::InvalidToken,
        Rejection::WaitpointClosed,
        Rejection::SignalLimitExceeded { limit: 10_000 },
        Rejection::AlreadySuspended,
        Rejection::ExecutionNotSuspended { lifecycle_phase: runnable },
        Rejection::Unread { what: Missing::Secrets },
        Rejection::StaleOwnerCannotAppend,
        Rejection::StreamClosed,
        Rejection::SequenceGap { expected: 4, given: 6 },
        Rejection::RotationConflict { kid: "k1".to_owned() },
        Rejection::InvalidKid,
        Rejection::InvalidSecretHex,
        Rejection::InvalidGraceMs { grace: ms(31_622_400_001), max: ms(31_622_400_000) },
        Rejection::BudgetNotFound { budget: BudgetId::new("llm") },
        Rejection::BudgetExists { budget: BudgetId::new("llm") },
        Rejection::UnknownDimension {
            budget: BudgetId::new("llm"),
            dimension: Dimension::new("cents"),
        },
        Rejection::BudgetExhausted {
            budget: BudgetId::new("llm"),
            dimension: Dimension::new("cents"),
            limit: 100,
            resets_at: None,
        },
        Rejection::QuotaNotFound { quota: QuotaId::new("exports") },
        Rejection::ConcurrencyLimitExceeded { quota: exports(), limit: 10 },
        Rejection::RateLimitExceeded { quota: exports(), retry_after: ms(250) },
        Rejection::WorkerInstanceInUse {
            instance: WorkerInstanceId::new("mailer-1"),
            until: TimestampMs::new(60_000),
        },
        Rejection::WorkerNotFound { instance: WorkerInstanceId::new("mailer-1") },
        Rejection::WorkerSuperseded { instance: WorkerInstanceId::new("mailer-1") },
        Rejection::FormatUnknown { asked: 3, known: 2 },
        Rejection::FormatSuperseded { asked: 1, active: 2 },
    ]
}

fn exports() -> QuotaRef {
    QuotaRef { quota: QuotaId::new("exports"), key: Some(QuotaKey::new("ada")) }
}

/// One error of each variant, in the order of their definition.
fn engine_errors() -> Vec<EngineError> {
    let op = "complete";
    vec![
        EngineError::NotFound { entity: "execution" },
        EngineError::from(Rejection::FenceRequired),
        EngineError::Contention { op, tries: 16 },
        EngineError::from(Rejection::Superseded { asked: 0, current: 1 }),
        EngineError::from(Rejection::LeaseRevoked),
        EngineError::Bug(Bug::NewerFormat { found: 2, known: 1 }),
        EngineError::Transport { op: "create", message: "out of memory".to_owned() },
        EngineError::Unreachable { op, message: "connection refused".to_owned() },
        EngineError::ResourceExhausted { what: "units in a commit", given: 65, bound: 64 },
        EngineError::Timeout { op, elapsed: ms(30_000), applied: Applied::Unknown },
        EngineError::StoreLost { connected: StoreId::new(1), found: Some(StoreId::new(2)) },
        EngineError::from(Rejection::LeaseRevoked).context("finishing the task"),
    ]
}
