//! Why a commit is made, which decides whether a store with full memory allows it.

/// The purpose of a commit. A store without memory refuses to admit work and still lets it finish,
/// which frees memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Adds work; refused when the store is out of memory.
    Admit,
    /// Finishes or keeps up work; allowed when the store is out of memory.
    Finish,
}
