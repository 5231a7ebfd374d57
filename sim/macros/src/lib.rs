//! The attribute `#[ff_sim::test]`, which `ff-sim` re-exports.

use proc_macro::TokenStream;

mod expand;

/// Turns an `async` function that takes an `ff_sim::Sim` into a test that runs with many seeds.
///
/// `seeds` is their number, 100 by default; `faults` the faults that may happen,
/// `ff_sim::Faults::all()` by default; `time_limit` the simulated time that the test may take after
/// the last fault, 10 minutes by default.
///
/// The environment overrides this: `FF_SIM_SEED=17` runs seed 17 alone and prints its trace,
/// `FF_SIM_SEEDS=10000` sets the number of seeds. A failure prints the line that reproduces it.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(attribute.into(), item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
