//! The requests of operators, which a budget remembers so that a repeat is recognised.

use crate::error::Rejection;
use crate::id::RequestId;

use super::record::{Budget, BudgetRequest};

/// The outcome of an operator's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetChanged {
    /// The budget after the request, or, for a repeat, as it is now.
    pub budget: Budget,
    /// Whether the same request was applied before, so that this one changed nothing.
    pub repeated: bool,
}

impl Budget {
    /// Returns whether the budget remembers the request.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the id was used for a request of another kind.
    pub(super) fn remembers(
        &self,
        id: &RequestId,
        request: BudgetRequest,
    ) -> Result<bool, Rejection> {
        match self.requests.iter().find(|(known, _)| known == id) {
            None => Ok(false),
            Some((_, known)) if *known == request => Ok(true),
            Some(_) => {
                let problem = format!("{id} was used for another request about this budget");
                Err(Rejection::InvalidInput { field: "request id", problem })
            }
        }
    }
}
