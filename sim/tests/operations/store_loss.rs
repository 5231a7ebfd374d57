//! The identity of a store: every program finds the same one, and a program whose store has lost it
//! takes no more work (`docs/architecture.md`, The identity of a store).

use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::op::{
    ActivateFormat, ApplyDue, EnsureMeta, FoundMeta, OperationContext, Patience, ReadMeta,
};
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::Codec;
use ff_core::store::{MemoryStore, StoreMeta};
use ff_core::store_id::StoreId;
use ff_core::time::DurationMs;
use ff_sim::scripted::{Fate, Scripted};

/// The context of a program that connects.
fn connected(world: &mut Scripted, seed: u64) -> OperationContext {
    let context = OperationContext::new(DurationMs::from_secs(10), Codec::default());
    let meta = StoreMeta { partitions: PartitionConfig::default(), format: 1, counts: true };
    let patience = Patience::new(context.clone(), Entropy::from_u64(seed));
    world.drive(EnsureMeta::new(meta, patience)).expect("it connects");
    context
}

/// Reads the configuration, as upkeep does.
fn read(world: &mut Scripted, context: &OperationContext) -> Option<StoreId> {
    let patience = Patience::new(context.clone(), Entropy::from_u64(1));
    let found = world.drive(ReadMeta::new(patience)).expect("the store answers");
    found.map(|FoundMeta { id, .. }| id)
}

/// The store that a program has found in the place of the one that it connected to.
fn found(context: &OperationContext) -> Option<StoreId> {
    match context.check_store() {
        Err(EngineError::StoreLost { found, .. }) => found,
        other => panic!("{other:?}"),
    }
}

fn empty(world: &mut Scripted) {
    *world.store() = MemoryStore::new(1);
}

#[test]
fn every_program_finds_the_same_identity_whatever_happens_to_the_first_commit() {
    let fates = [Fate::Answered, Fate::NotSent, Fate::Refused, Fate::ReplyLost, Fate::Late];
    for fate in fates.into_iter().chain([Fate::SentTwice, Fate::SentTwiceThenRefused]) {
        let mut world = Scripted::new();
        world.script.fates = [Fate::Answered, fate].into();
        let first = connected(&mut world, 2);
        let second = connected(&mut world, 3);
        let id = read(&mut world, &first);
        let patience = Patience::new(second.clone(), Entropy::from_u64(4));
        world.drive(ActivateFormat::new(2, patience)).expect("it is activated");
        assert_eq!((id.is_some(), read(&mut world, &second)), (true, id), "{fate:?}");
        for context in [first, second] {
            read(&mut world, &context);
            assert!(context.check_store().is_ok(), "{fate:?}");
        }
    }
}

#[test]
fn a_program_whose_store_is_lost_takes_nothing_and_never_goes_on() {
    let mut world = Scripted::new();
    let (early, late) = (connected(&mut world, 2), connected(&mut world, 3));
    empty(&mut world);
    assert_eq!(read(&mut world, &early), None);
    assert_eq!(found(&early), None);
    let new = connected(&mut world, 4);
    let id = read(&mut world, &late);
    assert_eq!((id.is_some(), found(&late)), (true, id));
    read(&mut world, &early);
    assert_eq!(found(&early), None, "it stays lost");

    let config = PartitionConfig::default();
    for (context, goes_on) in [(early, false), (late, false), (new, true)] {
        let done = world.drive(ApplyDue::new(config, context, Entropy::from_u64(5)));
        assert_eq!(done.is_ok(), goes_on, "{done:?}");
    }
}
