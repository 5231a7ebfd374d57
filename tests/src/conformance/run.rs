//! Runs a sequence from its first step to its last.

use super::census::Census;
use super::plan::Sequence;
use super::resolve::Resolver;
use super::subject::{Subject, compare, history};

/// Runs a sequence on a subject and on the reference, and records it in the census.
///
/// # Errors
///
/// A description of the first difference.
pub fn conform(
    subject: &mut impl Subject,
    sequence: &Sequence,
    census: &mut Census,
) -> Result<(), String> {
    subject.clear();
    let mut resolver = Resolver::new(sequence, history(subject)?);
    for (number, step) in sequence.steps.iter().enumerate() {
        subject.pass(step.pass_ms);
        let request = resolver.request(step, subject.now());
        let compared = compare(subject, &mut resolver.reference, &request);
        let (reply, wakes) = compared.map_err(|problem| format!("step {number}: {problem}"))?;
        census.record(&request, &reply, &wakes);
        resolver.learn(&request, &reply.body);
    }
    Ok(())
}
