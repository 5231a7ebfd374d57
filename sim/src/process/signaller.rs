//! The signaller's process: it receives the tokens of waitpoints, and signals with them at good
//! times and at bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, DeliverSignal, SignalContext};
use ff_core::id::{
    CorrelationId, ExecutionId, Nonce, SignalId, SignalName, SignalSource, WaitpointId,
};
use ff_core::op::{Known, OperationContext, Patience};
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::WaitpointToken;

use crate::determinism::hash::hashed;
use crate::determinism::random::{between, happens, one_of, stream};
use crate::plan::ActionKind;
use crate::plan::settings::Settings;
use crate::process::task::Origin;

use super::context::{Context, Notice, TokenInHand};
use super::suspensions::AWAITED;

/// The signaller's process. Its memory survives its crashes.
#[derive(Debug)]
pub struct SignallerProcess {
    seed: u64,
    settings: Settings,
    context: OperationContext,
    /// Every token that it received, the latest last.
    tokens: Vec<TokenInHand>,
    /// The tokens to use, by a time on the local clock.
    due: BTreeMap<(TimestampMs, u64), usize>,
    /// How many uses were planned.
    planned: u64,
    /// The signals that it has sent, the latest last.
    sent: Vec<DeliverSignal>,
}

/// How many sent signals it remembers.
const MOST_SENT: usize = 128;
/// Larger than the limit of a signal's payload.
const TOO_LARGE: usize = (256 << 10) + 1;

impl SignallerProcess {
    /// A signaller without tokens.
    pub fn new(seed: u64, settings: &Settings) -> Self {
        Self {
            seed,
            settings: settings.clone(),
            context: settings.context().with_retries(settings.retry_budget()),
            tokens: Vec::new(),
            due: BTreeMap::new(),
            planned: 0,
            sent: Vec::new(),
        }
    }

    /// The same after a crash: it uses the planned tokens immediately.
    #[must_use]
    pub fn restarted(mut self, now: TimestampMs) -> Self {
        let retries = self.settings.retry_budget();
        self.context = self.settings.context().with_retries(retries);
        let due = std::mem::take(&mut self.due);
        for (number, token) in due.into_values().enumerate() {
            self.due.insert((now, number as u64), token);
        }
        self
    }

    /// The context of its operations.
    pub const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// Sends the signals that are due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.healing {
            self.due.clear();
            return;
        }
        while let Some(((at, number), token)) = self.due.first_key_value() {
            let (at, number, token) = (*at, *number, *token);
            if at > cx.now.local {
                cx.wake_at(at);
                return;
            }
            self.due.remove(&(at, number));
            let id = self.tokens[token].issued.id;
            let key = hashed(id.uuid().as_bytes()).wrapping_add(number);
            let mut entropy = stream(self.seed, "signal", key);
            self.signal(token, key, &mut entropy, cx);
        }
    }

    /// Receives a token, and plans when to use it.
    pub fn learns(&mut self, token: TokenInHand, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        let key = hashed(token.issued.id.uuid().as_bytes());
        let mut entropy = stream(self.seed, "token", key.wrapping_add(self.tokens.len() as u64));
        let left = token.ends_at.map(|at| at.since(cx.now.store).get());
        let latency = self.settings.latency_ms.max(1);
        for _ in 0..between(&mut entropy, 0, self.settings.wait_rates.signals) {
            let after = match (entropy.below(10), left) {
                (0..3, _) => between(&mut entropy, 0, 3 * latency),
                (3..6, Some(left)) => {
                    // About when its timeout or the deadline is due.
                    let early = left.saturating_sub(3 * latency + 4);
                    early + between(&mut entropy, 0, 4 * latency + 8)
                }
                (3..8, _) => between(&mut entropy, 0, 1_500),
                _ => between(&mut entropy, 0, 12_000),
            };
            self.planned += 1;
            let at = cx.now.local.plus(DurationMs::new(after));
            self.due.insert((at, self.planned), self.tokens.len());
        }
        self.tokens.push(token);
        self.wake(cx);
    }

    /// Reacts to an event of an execution, with one of its tokens.
    pub fn notice(&mut self, notice: Notice, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        let about = |(number, token): (usize, &TokenInHand)| {
            (token.execution_id == notice.id).then_some(number)
        };
        let tokens: Vec<usize> = self.tokens.iter().enumerate().filter_map(about).collect();
        let mut entropy = stream(self.seed, "meddle", notice.key);
        let token = match tokens.get(entropy.below(tokens.len() as u64) as usize) {
            Some(token) => *token,
            None if self.tokens.is_empty() => {
                self.guess(notice, &mut entropy, cx);
                return;
            }
            None => entropy.below(self.tokens.len() as u64) as usize,
        };
        if tokens.is_empty() && happens(&mut entropy, 500) {
            self.guess(notice, &mut entropy, cx);
        } else {
            self.signal(token, notice.key, &mut entropy, cx);
        }
    }

    /// Signals without a token.
    fn guess(&mut self, notice: Notice, entropy: &mut Entropy, cx: &mut Context<'_>) {
        let waitpoint = WaitpointId::random(entropy);
        let token = WaitpointToken::new(one_of(entropy, &["", "k1:00", "nonsense"]));
        let sent = self.compose(notice.id, waitpoint, token, entropy);
        self.send(sent, notice.key, entropy, cx);
    }

    fn signal(&mut self, token: usize, key: u64, entropy: &mut Entropy, cx: &mut Context<'_>) {
        let again = happens(entropy, 200).then(|| self.again(token, entropy)).flatten();
        let sent = match again {
            Some(sent) => sent,
            None => {
                let TokenInHand { execution_id, issued, .. } = &self.tokens[token];
                let (mut id, mut waitpoint) = (*execution_id, issued.id);
                let mut text = issued.token.clone();
                if happens(entropy, self.settings.wait_rates.wrong) {
                    self.confuse(&mut id, &mut waitpoint, &mut text, entropy);
                }
                self.compose(id, waitpoint, text, entropy)
            }
        };
        self.send(sent, key, entropy, cx);
    }

    /// A signal that it has sent there before, repeated or as another sender's.
    fn again(&self, token: usize, entropy: &mut Entropy) -> Option<DeliverSignal> {
        let id = self.tokens[token].execution_id;
        let about = || self.sent.iter().filter(|sent| sent.execution_id == id);
        let chosen = entropy.below(about().count() as u64) as usize;
        let mut sent = about().nth(chosen)?.clone();
        if happens(entropy, 500) {
            sent.creator = Nonce(entropy.next_u64());
        }
        if happens(entropy, self.settings.wait_rates.wrong) {
            let text = &mut sent.token;
            self.confuse(&mut sent.execution_id, &mut sent.waitpoint_id, text, entropy);
        }
        Some(sent)
    }

    /// Replaces a part by a wrong one.
    fn confuse(
        &self,
        id: &mut ExecutionId,
        waitpoint: &mut WaitpointId,
        token: &mut WaitpointToken,
        entropy: &mut Entropy,
    ) {
        let other = &self.tokens[entropy.below(self.tokens.len() as u64) as usize];
        let text = token.expose().to_owned();
        let (kid, hex) = text.split_once(':').unwrap_or_default();
        match entropy.below(8) {
            0 => *waitpoint = WaitpointId::random(entropy),
            1 => *id = ExecutionId::solo(&self.settings.partitions, entropy.uuid()),
            2 => *waitpoint = other.issued.id,
            3 => *token = other.issued.token.clone(),
            4 => *token = WaitpointToken::new(one_of(entropy, &["", "k1", "k1:", "k1:00"])),
            5 => *token = WaitpointToken::new(format!("another{kid}:{hex}")),
            _ => {
                let digit = if hex.starts_with('0') { '1' } else { '0' };
                let rest = hex.get(1..).unwrap_or_default();
                *token = WaitpointToken::new(format!("{kid}:{digit}{rest}"));
            }
        }
    }

    fn compose(
        &self,
        execution_id: ExecutionId,
        waitpoint_id: WaitpointId,
        token: WaitpointToken,
        entropy: &mut Entropy,
    ) -> DeliverSignal {
        let signal_id = match entropy.below(5) {
            0 => {
                let key = one_of(entropy, &["first", "second"]);
                SignalId::for_idempotency_key(waitpoint_id, key)
            }
            _ => SignalId::random(entropy),
        };
        let source = one_of(entropy, &[None, Some("ann"), Some("bob"), Some("bob")]);
        let payload: Option<Arc<[u8]>> = match entropy.below(100) {
            0 => Some(Arc::from(vec![0; TOO_LARGE])),
            1..30 => None,
            30..40 => Some(Arc::from([])),
            _ => Some(Arc::from(entropy.next_u64().to_le_bytes())),
        };
        DeliverSignal {
            execution_id,
            waitpoint_id,
            token,
            signal_id,
            name: SignalName::try_new(one_of(entropy, &[AWAITED, AWAITED, "no"]))
                .expect("a valid name"),
            source: source.map(|text| SignalSource::try_new(text).expect("a valid source")),
            context: SignalContext {
                correlation_id: happens(entropy, 500)
                    .then(|| CorrelationId::new(one_of(entropy, &["order-1", "order-2"]))),
                ..SignalContext::default()
            },
            payload,
            creator: Nonce(entropy.next_u64()),
        }
    }

    fn send(&mut self, sent: DeliverSignal, key: u64, entropy: &mut Entropy, cx: &mut Context<'_>) {
        if !cx.performs(ActionKind::Signal, key) {
            return;
        }
        if self.sent.len() == MOST_SENT {
            self.sent.remove(0);
        }
        self.sent.push(sent.clone());
        let command: AnyCommand = sent.into();
        let patience = Patience::new(self.context.clone(), entropy.fork()).budgeted();
        cx.command_knowing(Origin::Signal, command, Known::Nothing, patience);
    }
}
