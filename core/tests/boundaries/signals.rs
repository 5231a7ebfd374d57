//! Signals: who may send them, what they do once, and how many there may be.

use std::sync::Arc;

use ff_core::condition::{Condition, CountKind, SignalMatcher};
use ff_core::error::{Missing, Rejection};
use ff_core::execution::{
    AnyCommand, AnyOutcome, Decide, DeliverSignal, DueKind, EventKind, Fence, ForgetSignals,
    Forgotten, MAX_SIGNAL_PAYLOAD, MAX_SIGNALS, SignalEffect, SignalOutcome, Situation, ValueKind,
    Verdict,
};
use ff_core::id::Nonce;
use ff_core::store::codec::encode;
use ff_core::time::DurationMs;
use ff_core::token::{KEYRING_FOR, Keyring, Kid, KnownKeyring, Secret, WaitpointToken};

use super::due;
use crate::common::suspending::{
    Reads, all_of, any_at, append, count, deliver, frame, from_source, key, known, known_secret,
    name, named, pending, ring, signal_id, suspend, suspend_on, token_of, waitpoint_id,
};
use crate::common::{Answer, Bench, START, Submission, at, complete, ms, on_due};

/// An execution that waits for `approved` at waitpoint 100 and has waitpoint 9 open besides.
fn waiting() -> Bench {
    let (mut bench, fence) = Bench::claimed();
    bench.applied(pending(fence, 9, "b"), START);
    bench.applied(suspend(fence, 1, named("a", "approved")), START);
    bench
}

/// The outcome of the signal of this number.
fn taken(number: u64, effect: SignalEffect) -> AnyOutcome {
    AnyOutcome::DeliverSignal(SignalOutcome::taken(signal_id(number), effect))
}

#[test]
fn a_signal_is_taken_once() {
    let mut bench = waiting();
    let signal = bench.signal(100, 1, "approved");
    let payload: Arc<[u8]> = Arc::from(*b"yes");
    let signal = DeliverSignal { payload: Some(payload.clone()), ..signal };
    let resumed = taken(1, SignalEffect::Resumed);
    assert_eq!(bench.applied(signal.clone(), START + 1), resumed);
    assert_eq!(bench.values[&ValueKind::Signal(signal_id(1))], payload);
    // The sender's own lost reply, and a copy from another sender, immediately and later.
    let others = DeliverSignal { creator: Nonce(99), ..signal.clone() };
    let duplicate = SignalOutcome::Duplicate { existing_signal_id: signal_id(1) };
    for now in [START + 1, START + 400_000] {
        assert_eq!(bench.repeated(signal.clone(), now), resumed);
        let again = bench.repeated(others.clone(), now);
        assert_eq!(again, AnyOutcome::DeliverSignal(duplicate));
    }
    // Also once the attempt went on and is over.
    let fence = bench.take(2, START + 2);
    assert_eq!(bench.repeated(signal.clone(), START + 3), resumed);
    bench.applied(complete(fence, None), START + 4);
    assert_eq!(bench.repeated(signal, START + 5), resumed);
    assert_eq!((bench.count(EventKind::SignalTaken), bench.count(EventKind::Resumed)), (1, 1));
}

#[test]
fn a_copy_of_a_signal_without_effect_is_none_either() {
    let mut bench = waiting();
    let recorded = taken(1, SignalEffect::Recorded);
    assert_eq!(bench.signalled(100, 1, "rejected", START + 1), recorded);
    let buffered = taken(2, SignalEffect::Buffered);
    assert_eq!(bench.signalled(9, 2, "approved", START + 1), buffered);
    let again = bench.signal(100, 1, "rejected");
    assert_eq!(bench.repeated(again, START + 2), recorded);
    let again = bench.signal(9, 2, "approved");
    assert_eq!(bench.repeated(again, START + 2), buffered);
    assert_eq!(bench.situation(START + 2), Situation::Suspended);
    let numbers: Vec<u32> = bench.buffered().signals.iter().map(|signal| signal.number).collect();
    assert_eq!(numbers, [0, 1]);
}

/// Every signal that does not prove that its sender received the waitpoint's token.
fn without_proof(bench: &Bench) -> Vec<DeliverSignal> {
    let good = bench.signal(100, 1, "approved");
    let text = good.token.expose().to_owned();
    let others = Keyring::new(Kid::try_new("k1").unwrap(), Secret::from_hex("c0ffef").unwrap());
    let waiting = bench.record().waiting.as_ref().unwrap();
    let subject = waiting.waitpoint(waitpoint_id(100)).unwrap().0.subject();
    let forged = others.sign(subject).unwrap().1;
    let with = |token: WaitpointToken| DeliverSignal { token, ..good.clone() };
    let as_text = |text: &str| with(WaitpointToken::new(text));
    vec![
        with(forged),
        with(token_of(bench.record.as_ref(), waitpoint_id(9))),
        as_text(&text.replace("k1:", "k2:")),
        as_text(&text[..text.len() - 1]),
        as_text(&text[..text.len() - 2]),
        as_text(""),
        as_text("k1:"),
        DeliverSignal { waitpoint_id: waitpoint_id(77), ..good.clone() },
    ]
}

#[test]
fn whoever_has_no_token_learns_nothing() {
    let mut bench = waiting();
    let too_large: Option<Arc<[u8]>> = Some(Arc::from(vec![0; MAX_SIGNAL_PAYLOAD + 1]));
    for signal in without_proof(&bench) {
        assert_eq!(bench.refused(signal.clone(), START + 1), Rejection::InvalidToken);
        let large = DeliverSignal { payload: too_large.clone(), ..signal.clone() };
        assert_eq!(bench.refused(large, START + 1), Rejection::InvalidToken);
        let mut absent = Bench::default();
        assert_eq!(absent.refused(signal, START + 1), Rejection::InvalidToken);
    }
    let good = bench.signal(100, 1, "approved");
    let mut absent = Bench::default();
    assert_eq!(absent.refused(good.clone(), START + 1), Rejection::InvalidToken);
    // Nor when the waitpoint is closed, and when the signal was taken.
    let bad = without_proof(&bench);
    bench.applied(good, START + 1);
    for signal in bad {
        assert_eq!(bench.refused(signal, START + 2), Rejection::InvalidToken);
    }
}

/// The holder of one waitpoint's token cannot take another waitpoint's signal away by its id. The
/// refusal does not reveal that the signal was taken.
#[test]
fn the_id_of_a_signal_to_another_waitpoint_is_refused() {
    let mut bench = waiting();
    bench.signalled(100, 1, "approved", START + 1);
    for creator in [bench.signal(100, 1, "approved").creator, Nonce(99)] {
        let elsewhere = DeliverSignal { creator, ..bench.signal(9, 1, "approved") };
        let refused = bench.refused(elsewhere, START + 2);
        assert!(matches!(refused, Rejection::InvalidInput { field: "signal_id", .. }), "{refused}");
    }
}

#[test]
fn a_repeat_is_recognised_when_its_waitpoint_is_forgotten() {
    let mut bench = waiting();
    let signal = bench.signal(100, 1, "approved");
    bench.applied(signal.clone(), START + 1);
    let fence = bench.take(2, START + 2);
    for round in 0..17_u64 {
        let number = 200 + round;
        bench.applied(pending(fence, number, "p"), START + 2);
        let command = suspend_on(fence, number, any_at("p"), &[number]);
        bench.signalled(number, number, "x", START + 2);
        bench.applied(command, START + 2);
    }
    let waiting = bench.record().waiting.as_ref().unwrap();
    assert_eq!(waiting.waitpoint(waitpoint_id(100)), None);
    assert_eq!(bench.repeated(signal.clone(), START + 3), taken(1, SignalEffect::Resumed));
    let other = DeliverSignal { signal_id: signal_id(999), ..signal };
    assert_eq!(bench.refused(other, START + 3), Rejection::InvalidToken);
}

#[test]
fn a_secret_that_was_replaced_is_good_to_the_end_of_its_grace() {
    let bench = waiting();
    let (kid, secret) = (Kid::try_new("k2").unwrap(), Secret::from_hex("00").unwrap());
    let rotated = ring().rotate(&kid, &secret, DurationMs::new(500), at(START)).unwrap().0;
    let decide = |now: u64| {
        let command = bench.signal(100, 1, "approved").into();
        let keyring = Some(KnownKeyring::new(rotated.clone(), at(now)));
        let reads = Reads { keyring, ..bench.reads(&command, at(now)) };
        reads.decide(&command, bench.record.as_ref(), at(now))
    };
    assert_eq!(decide(START + 500).err(), Some(Rejection::InvalidToken));
    let Ok(Verdict::Apply(decision)) = decide(START + 499) else {
        panic!("refused within its grace")
    };
    assert_eq!(decision.window.not_after, at(START + 500), "and no decision holds longer");
}

#[test]
fn secrets_are_gone_by_for_a_second() {
    let bench = waiting();
    let read_at = START + 5_000;
    let decide = |now: u64| {
        let command = bench.signal(100, 1, "approved").into();
        let reads = Reads { keyring: Some(known(at(read_at))), ..bench.reads(&command, at(now)) };
        reads.decide(&command, bench.record.as_ref(), at(now))
    };
    let unread = Some(Rejection::Unread { what: Missing::Secrets });
    let second = KEYRING_FOR.get();
    assert_eq!(decide(read_at + second).err(), unread);
    assert_eq!(decide(read_at - second - 1).err(), unread, "the clock went back");
    for now in [read_at - second, read_at, read_at + second - 1] {
        let Ok(Verdict::Apply(decision)) = decide(now) else { panic!("refused at {now}") };
        assert_eq!(decision.window.not_after, at(read_at + second));
    }
}

#[test]
fn what_was_not_read_is_asked_for() {
    let mut bench = waiting();
    let signal: AnyCommand = bench.signal(100, 1, "approved").into();
    let mut reads = Reads::default();
    let secrets = Rejection::Unread { what: Missing::Secrets };
    assert_eq!(bench.apply_with(&signal, &reads, START), Err(secrets.clone()));
    reads.keyring = Some(known(at(START)));
    let unread = Rejection::Unread { what: Missing::Signal };
    assert_eq!(bench.apply_with(&signal, &reads, START), Err(unread));

    bench.signalled(100, 1, "approved", START);
    let fence = bench.take(2, START + 1);
    bench.signalled(9, 2, "x", START + 1);
    let command: AnyCommand = suspend_on(fence, 2, any_at("b"), &[9]).into();
    let mut reads = Reads::default();
    let missing = Rejection::Unread { what: Missing::BufferedSignals };
    assert_eq!(bench.apply_with(&command, &reads, START + 1), Err(missing));
    reads.buffered = Some(bench.buffered());
    let applied = bench.apply_with(&command, &reads, START + 1);
    assert!(matches!(applied, Ok(Answer::Applied(_))), "no secret is needed: {applied:?}");
    let fresh: AnyCommand = suspend(fence, 3, any_at("z")).into();
    assert_eq!(bench.apply_with(&fresh, &Reads::default(), START + 1), Err(secrets));
}

#[test]
fn a_payload_has_at_most_256_kib() {
    let mut bench = waiting();
    let with = |bytes: usize| {
        let payload: Option<Arc<[u8]>> = Some(Arc::from(vec![7; bytes]));
        DeliverSignal { payload, ..bench.signal(100, 1, "approved") }
    };
    let (fits, too_large) = (with(256 << 10), with((256 << 10) + 1));
    let (bytes, limit) = (MAX_SIGNAL_PAYLOAD + 1, MAX_SIGNAL_PAYLOAD);
    let refused = bench.refused(too_large, START + 1);
    assert_eq!(refused, Rejection::PayloadTooLarge { bytes, limit });
    bench.applied(fits, START + 1);
}

#[test]
fn an_execution_takes_ten_thousand_signals() {
    let mut bench = waiting();
    let set = |bench: &mut Bench, signals: u32| {
        bench.record.as_mut().unwrap().waiting.as_mut().unwrap().signals = signals;
    };
    set(&mut bench, 9_999);
    assert_eq!(bench.signalled(100, 1, "x", START + 1), taken(1, SignalEffect::Recorded));
    let limit = Rejection::SignalLimitExceeded { limit: 10_000 };
    let signal = bench.signal(100, 2, "approved");
    assert_eq!(bench.refused(signal, START + 1), limit);
    assert_eq!(MAX_SIGNALS, 10_000);
    let again = bench.signal(100, 1, "x");
    assert_eq!(bench.repeated(again, START + 1), taken(1, SignalEffect::Recorded));
}

#[test]
fn ten_thousand_signals_leave_the_record_small() {
    let mut bench = waiting();
    for number in 0..10_000 {
        let signal = from_source(bench.signal(100, number, "rejected"), "somebody");
        bench.applied(signal, START + 1);
    }
    assert_eq!(bench.signals.len(), 10_000);
    let bytes = encode(bench.record(), 1).len();
    assert!(bytes <= 8 << 10, "{bytes} bytes");
}

/// A text of 64 bytes that begins so.
fn long(text: &str) -> String {
    format!("{text:x<64}")
}

/// As many waitpoints as can be, with the longest names, and as many signals as can be counted for
/// one part of a condition.
#[test]
fn the_largest_record_of_one_count_is_bounded() {
    let (mut bench, mut fence) = Bench::claimed();
    let keys: Vec<String> = (0..16).map(|number| long(&format!("w{number:02}"))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let all = |n| count(n, CountKind::DistinctSignals, &keys);
    bench.applied(suspend(fence, 1, all(1)), START);
    bench.signalled(100, 1_000, "x", START);
    fence = bench.take(2, START);
    bench.applied(suspend(fence, 2, all(64)), START);
    for number in 0..63 {
        bench.signalled(200 + number % 16, number, "x", START + 1);
    }
    let waiting = bench.record().waiting.as_ref().unwrap();
    assert_eq!((waiting.open.len(), waiting.closed.len()), (16, 16));
    let bytes = encode(bench.record(), 1).len();
    assert!(bytes <= 8 << 10, "{bytes} bytes");
    // The kids of the tests have two bytes, and may have 64.
    assert!(bytes + 32 * 62 <= 9 << 10, "{bytes} bytes");
}

/// The largest condition: each of 64 parts names a waitpoint and a signal.
#[test]
fn the_largest_record_of_all_is_bounded() {
    let (mut bench, fence) = Bench::claimed();
    let keys: Vec<String> = (0..16).map(|number| long(&format!("w{number:02}"))).collect();
    let said: Vec<String> = (0..64).map(|number| long(&format!("s{number:02}"))).collect();
    let part = |(said, at): (&String, &String)| Condition::Count {
        n: 1,
        kind: CountKind::DistinctSignals,
        matcher: SignalMatcher::ByName(name(said)),
        waitpoints: vec![key(at)],
    };
    let parts: Vec<_> = said.iter().zip(keys.iter().cycle()).map(part).collect();
    bench.applied(suspend(fence, 1, all_of(parts)), START);
    for (number, said) in (0..63).zip(&said) {
        bench.signalled(100 + number % 16, number, said, START + 1);
    }
    let bytes = encode(bench.record(), 1).len();
    assert!(bytes <= 16 << 10, "{bytes} bytes");
}

fn terminal_with(signals: u64, frames: u64) -> (Bench, Fence) {
    let mut bench = Bench::new(Submission::new().payload(b"payload").policy(|policy| {
        policy.retention_ms = ms(60_000);
    }));
    let fence = bench.take(1, START);
    bench.applied(pending(fence, 9, "b"), START);
    for number in 0..signals {
        let payload: Option<Arc<[u8]>> = Some(Arc::from(*b"yes"));
        bench.applied(DeliverSignal { payload, ..bench.signal(9, number, "x") }, START);
    }
    for sequence in 1..=frames {
        bench.applied(append(fence, sequence), START);
    }
    bench.applied(complete(fence, Some(b"result")), START);
    (bench, fence)
}

#[test]
fn retention_takes_signals_then_output_then_the_record() {
    let (mut bench, _) = terminal_with(250, 3);
    let over = START + 60_000;
    assert_eq!(due(&mut bench, over), [DueKind::Retention]);
    assert_eq!(bench.values.len(), 250, "payload and result are gone");
    let mut pages = Vec::new();
    for left in [150, 50, 0] {
        let applied = bench.applied(bench.forget(), over);
        let AnyOutcome::ForgetSignals(Forgotten { more }) = applied else { panic!("{applied:?}") };
        pages.push(more);
        assert_eq!((bench.signals.len(), bench.values.len()), (left, left));
    }
    assert_eq!(pages, [true, true, false]);
    let nothing = ForgetSignals { signals: Vec::new(), ..bench.forget() };
    let done = AnyOutcome::ForgetSignals(Forgotten { more: false });
    assert_eq!(bench.repeated(nothing, over), done);
    assert_eq!(bench.frames.len(), 1);
    assert_eq!(due(&mut bench, over), [DueKind::Continuation]);
    assert!(bench.frames.is_empty() && bench.record.is_some());
    assert_eq!(due(&mut bench, over), [DueKind::Continuation]);
    assert!(bench.is_empty());
}

#[test]
fn retention_waits_for_the_signals_to_go() {
    let (mut bench, _) = terminal_with(1, 0);
    let nothing = AnyOutcome::ForgetSignals(Forgotten { more: false });
    assert_eq!(bench.repeated(bench.forget(), START), nothing, "not before retention is over");
    assert_eq!(bench.signals.len(), 1);
    due(&mut bench, START + 60_000);
    for _ in 0..2 {
        match bench.apply(on_due(), START + 60_000) {
            Ok(Answer::Kept(AnyOutcome::OnDue(outcome))) => {
                assert!(outcome.forgets && outcome.applied.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    bench.applied(bench.forget(), START + 60_000);
    due(&mut bench, START + 60_000);
    assert!(bench.is_empty());
}

#[test]
fn an_execution_without_waitpoints_and_output_goes_in_one_commit() {
    let mut bench = Bench::new(Submission::new().payload(b"payload").policy(|policy| {
        policy.retention_ms = ms(60_000);
    }));
    let fence = bench.take(1, START);
    bench.applied(complete(fence, Some(b"result")), START);
    assert_eq!(due(&mut bench, START + 60_000), [DueKind::Retention]);
    assert!(bench.is_empty());
}

#[test]
fn a_token_says_its_kid_and_nothing_else_of_its_secret() {
    let bench = waiting();
    let token = bench.signal(100, 1, "x").token;
    assert_eq!(token.kid(), Some(known_secret().0));
    let signal = deliver(100, &token, 1, "x");
    assert_eq!(AnyCommand::from(signal).spec().needs.kid, Some(known_secret().0));
    assert_eq!((frame(1).sequence, key("a").as_str()), (1, "a"));
}
