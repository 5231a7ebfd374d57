//! The attribute `#[ff_sim::test]`, which `ff-sim` documents and hands on.

use proc_macro::TokenStream;

mod expand;

/// Makes an `async` function that takes an `ff_sim::Sim` a test that runs with many seeds.
///
/// `seeds` is how many, 100 unless given; `faults` what may go wrong, `ff_sim::Faults::all()`
/// unless given; `time_limit` how much time of the simulation the test may take after the last
/// fault, 10 minutes unless given.
///
/// The environment decides otherwise: `FF_SIM_SEED=17` runs seed 17 alone and prints its trace,
/// `FF_SIM_SEEDS=10000` runs so many. A failure prints the line that repeats it.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(attribute.into(), item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
