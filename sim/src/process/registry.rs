//! The operator and the registry: it lets workers drain, marks them as dead, and removes records
//! that have expired.

use ff_core::entropy::Entropy;
use ff_core::op::{ChangeResource, Patience, RemoveExpired};
use ff_core::registry::{DrainWorker, MarkDead, Worker};

use crate::determinism::random::one_of;
use crate::model::registry::RegistryCall;
use crate::plan::settings::Settings;
use crate::process::task::Output;

use super::context::{About, Context};
use super::submissions::{instance_id, namespace};

/// Starts an operation on the registry.
pub fn begin(settings: &Settings, patience: Patience, entropy: &mut Entropy, cx: &mut Context<'_>) {
    let (partitions, workers) = (settings.partitions, settings.workers);
    let number = entropy.below(workers as u64) as usize;
    let instance = instance_id(number, one_of(entropy, &[0, 0, 0, 1, 1, 2, 3]));
    let namespace = namespace();
    match entropy.below(3) {
        0 => {
            let change = DrainWorker { namespace, instance, partitions };
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Registry(RegistryCall::Drain), operation, Output::WorkerSet);
        }
        1 => {
            let change = MarkDead { namespace, instance, partitions };
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Registry(RegistryCall::MarkDead), operation, Output::WorkerSet);
        }
        _ => {
            // As the programs that run timekeepers do.
            let target = Worker::key(&namespace, &instance, &partitions);
            let sweep = RemoveExpired::<Worker>::new(target.partition, patience);
            cx.begin(About::Registry(RegistryCall::Sweep), sweep, Output::Swept);
        }
    }
}
