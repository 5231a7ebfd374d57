//! The parts of a store URL that are not secret. The others are hidden in messages, also if the URL
//! is malformed.

/// The options whose values are not secret.
pub(crate) const OPTIONS: [&str; 7] = [
    "allow_eviction",
    "open_timeout_ms",
    "connect_timeout_ms",
    "response_timeout_ms",
    "poll_grace_ms",
    "sentinel_user",
    "db",
];

/// How the servers of a store are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The URL names the server.
    Server,
    /// The URL names the socket of the server.
    Unix,
    /// The URL names nodes of a cluster.
    Cluster,
    /// The URL names sentinels, which name the primary.
    Sentinel,
}

/// The form of a store by the scheme of its URL, and whether its connections use TLS; `None` for an
/// unknown scheme.
pub(crate) fn form(scheme: &str) -> Option<(Form, bool)> {
    let (base, form) = if let Some(base) = scheme.strip_suffix("-cluster") {
        (base, Form::Cluster)
    } else if let Some(base) = scheme.strip_suffix("-sentinel") {
        (base, Form::Sentinel)
    } else if let Some(base) = scheme.strip_suffix("+unix") {
        (base, Form::Unix)
    } else {
        (scheme, Form::Server)
    };
    match base {
        "valkey" | "redis" => Some((form, false)),
        "valkeys" | "rediss" if form != Form::Unix => Some((form, true)),
        _ => None,
    }
}

/// Hides user, password and the values of unknown options of a store URL, for messages.
///
/// Everything between the scheme, or the start of a text without one, and the last `@` counts as
/// user and password, because the URL may be malformed: a slash too few, no scheme, or a password
/// that is not in percent form.
///
/// ```
/// # use ff_io_valkey::redacted_url;
/// assert_eq!(redacted_url("valkey://app:PASSWORD@host:6379/1"), "valkey://***@host:6379/1");
/// assert_eq!(redacted_url("app:PASSWORD@host"), "***@host");
/// assert_eq!(redacted_url("valkey://host?password=PASSWORD"), "valkey://host?password=***");
/// ```
pub fn redacted_url(url: &str) -> String {
    // The URL of a file has no secrets, and its path may contain an `@`.
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    let (scheme, rest) = url.split_at(scheme_end(url));
    let (hidden, rest) = match rest.rsplit_once('@') {
        // The `@` may stand in a password with a `?`, or in the value of an option.
        Some((before, _)) if before.contains('?') => return format!("{scheme}***"),
        Some((_, location)) => ("***@", location),
        None => ("", rest),
    };
    let Some((location, query)) = rest.split_once('?') else {
        return format!("{scheme}{hidden}{rest}");
    };
    format!("{scheme}{hidden}{location}?{}", options(query))
}

/// The end of the scheme and the slashes after it; 0 if there is no scheme. The user of an address
/// without a scheme looks like an unknown scheme with too few slashes.
fn scheme_end(url: &str) -> usize {
    let Some((scheme, rest)) = url.split_once(':') else { return 0 };
    let known = form(scheme).is_some();
    let slashes = rest.len() - rest.trim_start_matches('/').len();
    match known || (is_scheme(scheme) && slashes == 2) {
        true => scheme.len() + 1 + slashes,
        false => 0,
    }
}

/// Whether the text can be a scheme.
pub(crate) fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The options up to the first one that may hold a password; a password may also contain `&`.
fn options(query: &str) -> String {
    let mut text = String::new();
    for option in query.split('&') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let known = OPTIONS.contains(&name) || option.is_empty();
        if known && shown(value) == value {
            text += &format!("{option}&");
        } else {
            let name = option.split_once('=').map_or(String::new(), |(name, _)| format!("{name}="));
            return format!("{text}{name}***");
        }
    }
    text.pop();
    text
}

/// The value of a known option. One with other characters may contain a misplaced password.
pub(crate) fn shown(value: &str) -> &str {
    if value.chars().all(|c| c.is_ascii_alphanumeric()) { value } else { "***" }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::Target;

    #[test]
    fn credentials_are_hidden_and_the_rest_is_shown() {
        for (url, shown) in [
            ("valkey://user:secret@host:1/0", "valkey://***@host:1/0"),
            ("valkey://:s@cret@host:1", "valkey://***@host:1"),
            ("sqlite:a@b.db?durability=relaxed", "sqlite:a@b.db?durability=relaxed"),
            ("valkey-cluster://u:p@a:1,b:2", "valkey-cluster://***@a:1,b:2"),
            ("valkey-sentinel://u:p@a,b/one", "valkey-sentinel://***@a,b/one"),
            (
                "redis-sentinel://a/one?sentinel_user=me&sentinel_password=p&db=1",
                "redis-sentinel://a/one?sentinel_user=me&sentinel_password=***",
            ),
            ("valkey+unix:///run/a.sock?db=1", "valkey+unix:///run/a.sock?db=1"),
            ("valkey+unix://u:p@/run/a.sock", "valkey+unix://***@/run/a.sock"),
            ("valkey://host:1?poll_grace_ms=9", "valkey://host:1?poll_grace_ms=9"),
            ("valkey://host?open_timeout_ms=9", "valkey://host?open_timeout_ms=9"),
            ("valkey://host?password=p&b", "valkey://host?password=***"),
            ("valkey://host?password=p@q", "valkey://***"),
            ("valkey://u:p?q@host", "valkey://***"),
            ("valkey:/app:secret@host", "valkey:/***@host"),
            ("valkey:app:secret@host", "valkey:***@host"),
            ("app:secret@host", "***@host"),
            ("app:/secret@host", "***@host"),
            ("tape://me:secret@host", "tape://***@host"),
            ("me:s://ecret@host", "***@host"),
            ("valkey", "valkey"),
            ("", ""),
        ] {
            assert_eq!(redacted_url(url), shown, "{url}");
        }
    }

    proptest! {
        /// A password never shows, whatever is wrong with the URL: neither the redacted URL nor the
        /// error of the parser holds one of its words.
        #[test]
        fn no_message_holds_a_password(
            scheme in "(valkey|rediss(-cluster|)|redis-sentinel|valkey[+]unix|tape|)(:/{0,3}|//|)",
            user in "[a-z]{0,3}:",
            password in "(SECRET[a-z0-9@/:?#,%&=.-]?){1,3}",
            rest in "host(:6379|:port|)(,b:1|)(/0|/x|)([?]evict=1|[?]poll_grace_ms=x|)",
        ) {
            let by_user = format!("{scheme}{user}{password}@{rest}");
            let by_option = format!("{scheme}{rest}?password={password}");
            let of_sentinel = format!("{scheme}{rest}?sentinel_password={password}");
            for url in [by_user, by_option, of_sentinel] {
                prop_assert!(!redacted_url(&url).contains("SECRET"), "{}", redacted_url(&url));
                let shown = match Target::parse(&url) {
                    Ok(target) => format!("{target:?}"),
                    Err(error) => format!("{error} {error:?}"),
                };
                prop_assert!(!shown.contains("SECRET"), "{shown}");
            }
        }
    }
}
