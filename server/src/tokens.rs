//! The tokens of callers: who may do what, in which namespaces, and how often.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use ff_sdk::Namespace;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use crate::view::hex;

/// The permissions of the holder of a token. Every role may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Submits executions and sends signals.
    Submit,
    /// Claims executions, or grants for them, and works on them.
    Work,
    /// As `submit`; also changes executions, lanes, quotas, budgets and workers.
    Operate,
    /// Everything, also rotating secrets.
    Admin,
}

/// A permission that a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Read,
    Submit,
    Work,
    Operate,
    Admin,
}

impl Role {
    pub(crate) const fn has(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Submit => matches!(self, Self::Submit | Self::Operate | Self::Admin),
            Permission::Work => matches!(self, Self::Work | Self::Admin),
            Permission::Operate => matches!(self, Self::Operate | Self::Admin),
            Permission::Admin => matches!(self, Self::Admin),
        }
    }

    /// The name of the role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Work => "work",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let roles = [Self::Submit, Self::Work, Self::Operate, Self::Admin];
        let found = roles.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("`{text}` is not a role: submit, work, operate or admin"))
    }
}

/// A token as the file has it: never the token itself, only its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// SHA-256 of the token, in hexadecimal digits.
    sha256: String,
    role: Role,
    /// The namespaces, or `*` for all.
    namespaces: Vec<String>,
    /// Requests in a second, with bursts of as many; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_second: Option<NonZeroU32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// A problem with the file of tokens.
#[derive(Debug, thiserror::Error)]
#[error("token file {}: {problem}", path.display())]
pub struct TokensError {
    path: PathBuf,
    problem: String,
}

/// The SHA-256 of a token.
pub(crate) type TokenHash = [u8; 32];

/// A caller, as its token describes it.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// `None` for all namespaces.
    namespaces: Option<Vec<Namespace>>,
    limiter: Option<Limiter>,
    pub(crate) hash: TokenHash,
}

/// Limits requests in a second, with bursts of as many.
#[derive(Debug)]
struct Limiter {
    /// The time between two requests at the limit.
    spacing: Duration,
    /// When the requests so far would be over at the limit.
    over: Mutex<Instant>,
}

impl Limiter {
    fn new(per_second: NonZeroU32) -> Self {
        let spacing = Duration::from_secs(1) / per_second.get();
        Self { spacing, over: Mutex::new(Instant::now()) }
    }

    /// Counts a request. `Err`: how long to wait before the next one.
    fn count(&self, now: Instant) -> Result<(), Duration> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*over).max(now) + self.spacing;
        match (next - now).checked_sub(Duration::from_secs(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *over = next;
                Ok(())
            }
        }
    }
}

impl Caller {
    /// The caller of a service without tokens.
    pub(crate) fn anyone() -> Self {
        let (name, role) = ("anyone".to_owned(), Role::Admin);
        Self { name, role, namespaces: None, limiter: None, hash: [0; 32] }
    }

    /// Whether the caller sees a namespace.
    pub(crate) fn sees(&self, namespace: &Namespace) -> bool {
        self.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }

    /// The namespace of requests that name none; `None` if the token has several.
    pub(crate) fn only_namespace(&self) -> Option<&Namespace> {
        match self.namespaces.as_deref() {
            Some([namespace]) => Some(namespace),
            _ => None,
        }
    }

    /// The namespaces that the caller sees; `None` for all.
    pub(crate) fn namespaces(&self) -> Option<&[Namespace]> {
        self.namespaces.as_deref()
    }

    pub(crate) const fn is_limited_to_some(&self) -> bool {
        self.namespaces.is_some()
    }

    /// Counts a request. `Err`: how long to wait before the next one.
    pub(crate) fn count(&self) -> Result<(), Duration> {
        self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.count(Instant::now()))
    }

    fn of(entry: Entry) -> Result<Self, String> {
        let Entry { name, sha256, role, namespaces, per_second } = entry;
        let context = |problem: String| format!("token `{name}`: {problem}");
        let hash = unhex(&sha256)
            .ok_or_else(|| context("sha256 must be 64 hexadecimal digits".to_owned()))?;
        if namespaces.is_empty() {
            return Err(context("namespaces is empty: name some, or \"*\" for all".to_owned()));
        }
        let namespaces = match namespaces.iter().any(|namespace| namespace == "*") {
            true => None,
            false => {
                let parsed = namespaces.iter().map(Namespace::try_new).collect::<Result<_, _>>();
                Some(parsed.map_err(|error| context(error.to_string()))?)
            }
        };
        let limiter = per_second.map(Limiter::new);
        Ok(Self { name: name.clone(), role, namespaces, limiter, hash })
    }
}

/// A token that was drawn and can be added to a file.
#[derive(Debug)]
pub struct NewToken {
    /// The token, which only its holder keeps.
    pub token: String,
    entry: Entry,
}

impl NewToken {
    /// Makes a token of 32 random bytes. `namespaces` may have `*` for all; `per_second` limits the
    /// requests in a second.
    ///
    /// # Errors
    ///
    /// A text that says which argument is invalid.
    pub fn new(
        random: [u8; 32],
        name: &str,
        role: Role,
        namespaces: &[String],
        per_second: Option<NonZeroU32>,
    ) -> Result<Self, String> {
        let token = format!("ff_{}", hex(&random));
        let entry = Entry {
            name: name.to_owned(),
            sha256: hex(&digest(&token)),
            role,
            namespaces: namespaces.to_vec(),
            per_second,
        };
        Caller::of(entry.clone())?;
        Ok(Self { token, entry })
    }

    /// The entry for the file of tokens.
    ///
    /// # Panics
    ///
    /// Never: an entry can be written as TOML.
    pub fn entry(&self) -> String {
        let file = File { token: vec![self.entry.clone()] };
        toml::to_string(&file).expect("an entry can be written")
    }
}

/// The tokens of a service, from a file that is read again when it changes.
pub struct Tokens {
    path: Option<PathBuf>,
    callers: RwLock<Arc<Vec<Arc<Caller>>>>,
    /// When the file was changed last, and its length.
    seen: RwLock<Option<(SystemTime, u64)>>,
}

impl Tokens {
    /// Without tokens: every caller may do everything.
    pub(crate) fn none() -> Self {
        Self { path: None, callers: RwLock::default(), seen: RwLock::default() }
    }

    /// Reads a file of tokens.
    ///
    /// # Errors
    ///
    /// [`TokensError`] when it cannot be read, or says which of its tokens is invalid.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let seen = version(path);
        let callers = read(path)?;
        let (callers, seen) = (RwLock::new(Arc::new(callers)), RwLock::new(seen));
        Ok(Self { path: Some(path.to_owned()), callers, seen })
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.callers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) const fn are_required(&self) -> bool {
        self.path.is_some()
    }

    /// Reads the file again if it has changed. A file that cannot be read leaves the tokens as they
    /// are.
    pub(crate) fn refresh(&self) {
        let Some(path) = &self.path else { return };
        let now = version(path);
        if now == *self.seen.read().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = now;
        match read(path) {
            Ok(callers) => {
                tracing::info!(tokens = callers.len(), "the file of tokens was read again");
                *self.callers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(callers);
            }
            Err(error) => tracing::error!(%error, "the tokens stay as they were"),
        }
    }

    /// The caller with a token. The time that this takes does not depend on the token.
    pub(crate) fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        self.caller_with(&digest(token))
    }

    /// The caller with the token of this hash. The time that this takes does not depend on it.
    pub(crate) fn caller_with(&self, hash: &TokenHash) -> Option<Arc<Caller>> {
        let callers = self.callers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = None;
        for caller in callers.iter() {
            if bool::from(caller.hash.ct_eq(hash)) {
                found = Some(caller.clone());
            }
        }
        found
    }
}

fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Vec<Arc<Caller>>, TokensError> {
    let failed = |problem: String| TokensError { path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let file: File = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let callers = file.token.into_iter().map(|entry| Caller::of(entry).map(Arc::new));
    let callers: Vec<Arc<Caller>> = callers.collect::<Result<_, _>>().map_err(failed)?;
    let same = |(number, one): (usize, &Arc<Caller>)| {
        callers[..number].iter().find(|other| other.hash == one.hash).map(|_| one.name.clone())
    };
    match callers.iter().enumerate().find_map(same) {
        Some(name) => Err(failed(format!("the token of `{name}` stands there twice"))),
        None => Ok(callers),
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[number * 2..number * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_the_permissions_of_the_table() {
        use Permission::{Admin, Operate, Read, Submit, Work};
        for (role, permissions) in [
            (Role::Submit, &[Read, Submit][..]),
            (Role::Work, &[Read, Work]),
            (Role::Operate, &[Read, Submit, Operate]),
            (Role::Admin, &[Read, Submit, Work, Operate, Admin]),
        ] {
            for permission in [Read, Submit, Work, Operate, Admin] {
                let (has, wanted) = (role.has(permission), permissions.contains(&permission));
                assert_eq!(has, wanted, "{role:?} {permission:?}");
            }
        }
    }

    #[test]
    fn a_token_is_found_by_its_hash_and_a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let token = |seed, name| {
            let per_second = NonZeroU32::new(2);
            NewToken::new([seed; 32], name, Role::Work, &["demo".to_owned()], per_second)
        };
        let (one, other) = (token(1, "one").expect("a token"), token(2, "other").expect("a token"));
        assert!(!one.entry().contains(&one.token), "the file has no token");
        std::fs::write(&path, one.entry()).expect("written");
        let tokens = Tokens::read(&path).expect("a valid file");
        let caller = tokens.caller(&one.token).expect("it is known");
        assert_eq!((caller.name.as_str(), caller.role), ("one", Role::Work));
        assert!(caller.sees(&Namespace::try_new("demo").expect("valid")));
        assert!(!caller.sees(&Namespace::try_new("other").expect("valid")));
        assert!(tokens.caller(&other.token).is_none());

        std::fs::write(&path, format!("{}{}", one.entry(), other.entry())).expect("written");
        tokens.refresh();
        assert!(tokens.caller(&other.token).is_some());

        std::fs::write(&path, "[[token]]\nname = 7\n").expect("written");
        tokens.refresh();
        assert_eq!(tokens.count(), 2, "an invalid file changes nothing");

        assert!(caller.count().is_ok() && caller.count().is_ok());
        let wait = caller.count().expect_err("a third request in the second");
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
    }

    #[test]
    fn requests_are_limited_to_those_of_a_second() {
        let (limiter, begin) =
            (Limiter::new(NonZeroU32::new(4).expect("not zero")), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        let burst: Vec<bool> = (0..6).map(|_| limiter.count(at(10)).is_ok()).collect();
        assert_eq!(burst, [true, true, true, true, false, false]);
        assert_eq!(limiter.count(at(10)), Err(Duration::from_millis(250)));
        assert_eq!(limiter.count(at(260)), Ok(()));
        assert_eq!(limiter.count(at(260)), Err(Duration::from_millis(250)));
        let later = (0..6).filter(|_| limiter.count(at(9_000)).is_ok()).count();
        assert_eq!(later, 4, "a pause saves up one second at most");
    }

    #[test]
    fn an_invalid_file_is_refused_with_the_name_of_its_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let hash = "0".repeat(64);
        for (text, wanted) in [
            (format!("sha256 = \"{hash}\"\nrole = \"work\"\nnamespaces = []"), "is empty"),
            ("sha256 = \"00\"\nrole = \"work\"\nnamespaces = [\"*\"]".to_owned(), "64 hexadecimal"),
            (format!("sha256 = \"{hash}\"\nrole = \"king\"\nnamespaces = [\"*\"]"), "king"),
            (format!("sha256 = \"{hash}\"\nrole = \"work\"\nnamespaces = [\"a b\"]"), "`n`"),
        ] {
            std::fs::write(&path, format!("[[token]]\nname = \"n\"\n{text}\n")).expect("written");
            let error = Tokens::read(&path).err().expect("it is invalid").to_string();
            assert!(error.contains(wanted) && error.contains("tokens.toml"), "{error}");
        }
    }
}
