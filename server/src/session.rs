//! Sessions of people who signed in, kept in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::tokens::TokenHash;
use crate::view::hex;

/// The name of the cookie with the id of a session.
const COOKIE: &str = "ff_session";
/// How long a session is good after the sign-in.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// The most sessions at the same time. A further one ends the oldest.
const MAX_SESSIONS: usize = 10_000;

/// A value that only its holder knows.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// The value that a request must repeat to change something. Only pages of the service have it.
#[derive(Clone)]
pub(crate) struct CsrfToken(String);

impl CsrfToken {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request has the value. The time that this takes does not depend on the value.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// A session, which belongs to the token that began it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) token: TokenHash,
    pub(crate) csrf: CsrfToken,
    began: Instant,
}

/// The sessions by the hash of their ids: the memory of the process has no id.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    /// Begins a session. Returns its id, which only its cookie has.
    pub(crate) fn begin(&self, token: TokenHash) -> Result<String, getrandom::Error> {
        let (id, csrf, began) = (random()?, CsrfToken::random()?, Instant::now());
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.began.elapsed() < LIFETIME);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.began);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(hashed(&id), Session { token, csrf, began });
        Ok(id)
    }

    /// The session of a request, by its cookie.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Session> {
        let id = hashed(id(headers)?);
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&id)?;
        (session.began.elapsed() < LIFETIME).then(|| session.clone())
    }

    /// Ends the session of a request.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(id) = id(headers) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hashed(id));
        }
    }
}

fn hashed(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// The id in the cookie of a request.
fn id(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The header that sets the cookie of a session, or removes it if there is no id.
pub(crate) fn cookie(id: Option<&str>, is_secure: bool) -> String {
    let (id, age) = id.map_or(("", 0), |id| (id, LIFETIME.as_secs()));
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::http::HeaderValue;

    fn with_cookie(value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a header");
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let id = sessions.begin([7; 32]).expect("random bytes");
        let headers = with_cookie(&format!("other=1; ff_session={id}"));
        let session = sessions.of(&headers).expect("it was begun");
        assert_eq!(session.token, [7; 32]);
        assert!(session.csrf.is(session.csrf.as_str()));
        assert!(!session.csrf.is("") && !session.csrf.is(&id));
        assert!(sessions.of(&with_cookie("ff_session=")).is_none());
        assert!(sessions.of(&with_cookie(&format!("x{}", &id[1..]))).is_none());
        sessions.end(&headers);
        assert!(sessions.of(&headers).is_none());
    }

    #[test]
    fn a_session_ends_in_time_and_there_are_never_too_many() {
        let sessions = Sessions::default();
        let first = sessions.begin([1; 32]).expect("random bytes");
        let headers = with_cookie(&format!("ff_session={first}"));
        let age = |by: Duration| {
            let mut all = sessions.0.lock().expect("not poisoned");
            all.get_mut(&hashed(&first)).expect("it is kept").began -= by;
        };
        age(LIFETIME / 2);
        assert!(sessions.of(&headers).is_some());
        age(LIFETIME / 2);
        assert!(sessions.of(&headers).is_none());
        for _ in 0..=MAX_SESSIONS {
            sessions.begin([2; 32]).expect("random bytes");
        }
        assert_eq!(sessions.0.lock().expect("not poisoned").len(), MAX_SESSIONS);
    }

    #[test]
    fn scripts_and_other_sites_do_not_get_the_cookie() {
        let set = cookie(Some("x"), true);
        assert_eq!(set, "ff_session=x; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure");
        assert!(!cookie(Some("x"), false).contains("Secure"));
        assert!(cookie(None, false).contains("Max-Age=0"));
    }
}
