//! The hooks for bugs that are planted between the programs and the store, and in the store itself
//! (`docs/decisions.md`, 18). Only a build with the feature `planted-bugs` has them.

use std::sync::{PoisonError, RwLock};

use ff_core::store::{Reply, Request};

use crate::model::Model;

/// A bug in what a program sends to the store.
pub type SentBug = fn(&mut Request, &Model);

/// A bug in how the store carries a request out, which may ask the store itself.
pub type ServedBug = fn(&mut Request, &mut dyn FnMut(Request) -> Reply);

/// A bug in what a program gets from the store.
pub type AnsweredBug = fn(&Request, &mut Reply);

/// The bugs of the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreBugs {
    /// In what programs send.
    pub sent: Option<SentBug>,
    /// In the store.
    pub served: Option<ServedBug>,
    /// In what programs get.
    pub answered: Option<AnsweredBug>,
}

static INSTALLED: RwLock<StoreBugs> =
    RwLock::new(StoreBugs { sent: None, served: None, answered: None });

/// Installs bugs for the whole process.
pub fn install(bugs: StoreBugs) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = bugs;
}

/// The bugs that are installed.
pub(super) fn installed() -> StoreBugs {
    *INSTALLED.read().unwrap_or_else(PoisonError::into_inner)
}

/// The bug that the reply to a request gets, with the request.
pub(super) struct Answered(Option<(AnsweredBug, Request)>);

/// The request as a program with the installed bugs sends it.
pub(super) fn sent(mut request: Request, model: &Model) -> (Request, Answered) {
    let bugs = installed();
    if let Some(bug) = bugs.sent {
        bug(&mut request, model);
    }
    let answered = bugs.answered.map(|bug| (bug, request.clone()));
    (request, Answered(answered))
}

impl Answered {
    /// The reply as the program takes it.
    pub(super) fn spoil(self, mut reply: Reply) -> Reply {
        if let Some((bug, request)) = self.0 {
            bug(&request, &mut reply);
        }
        reply
    }
}
