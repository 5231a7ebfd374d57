//! Requests that a page of another site makes a browser send.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::app::App;

/// Refuses requests that a browser sends for another site, if there are no tokens: then every
/// program on this host may do everything, but pages of other sites may not.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if !app.tokens().are_required()
        && let Err(refusal) = check(request.method(), request.uri(), request.headers(), &app)
    {
        return refusal.into_response();
    }
    next.run(request).await
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap, app: &App) -> Result<(), Refusal> {
    if let Some(host) = host(uri, headers)
        && !is_own_name(host, app.address())
    {
        let message = format!(
            "the host `{host}` is not this service: open it by 127.0.0.1 or localhost, or use \
             tokens"
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "wrong_host", message));
    }
    if !method.is_safe() && is_from_other_site(uri, headers) {
        return Err(other_site());
    }
    Ok(())
}

/// The error for a request of another site.
pub(crate) fn other_site() -> Refusal {
    let message = "a page of another site may not change anything here";
    Refusal::new(StatusCode::FORBIDDEN, "other_site", message)
}

/// The host that a request is for. Programs may send none; browsers always do.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let of_uri = uri.authority().map(|authority| authority.as_str());
    of_uri.or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// Whether a host is a name of a loopback address, or the address that the service listens on. Any
/// other name may belong to a site that resolves it to a loopback address.
fn is_own_name(host: &str, address: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        // An address of version 6 without brackets has no port.
        _ if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let ip = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || ip.is_ok_and(|ip| ip.is_loopback() || ip == address.ip())
}

/// Whether a browser sends a request for a page of another site. Browsers say so in the header
/// `Sec-Fetch-Site`, or older ones by `Origin`; programs send neither.
pub(crate) fn is_from_other_site(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site != "same-origin" && site != "none",
        (None, Some(origin)) => {
            let of_origin = origin.split_once("://").map(|(_, host)| host);
            of_origin.is_none() || of_origin != host(uri, headers)
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn only_loopback_names_and_the_own_address_are_own_names() {
        let address = "127.0.0.1:8080".parse().expect("an address");
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.0.1", "[::1]:80", "::1"] {
            assert!(is_own_name(own, address), "{own}");
        }
        for other in ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil", "10.0.0.1", ""]
        {
            assert!(!is_own_name(other, address), "{other}");
        }
        assert!(is_own_name("10.0.0.1:80", "10.0.0.1:80".parse().expect("an address")));
    }

    #[test]
    fn requests_of_other_sites_are_recognised() {
        let headers = |given: &[(&str, &str)]| -> HeaderMap {
            let pair = |(name, value): &(&str, &str)| {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, HeaderValue::from_str(value).expect("a value"))
            };
            given.iter().map(pair).collect()
        };
        let host = ("host", "127.0.0.1:80");
        let own = ("origin", "http://127.0.0.1:80");
        for (given, is_other) in [
            (&[host][..], false),
            (&[host, ("sec-fetch-site", "same-origin"), ("origin", "null")], false),
            (&[host, ("sec-fetch-site", "none")], false),
            (&[host, ("sec-fetch-site", "cross-site"), own], true),
            (&[host, ("sec-fetch-site", "same-site"), own], true),
            (&[host, own], false),
            (&[host, ("origin", "http://127.0.0.1:81")], true),
            (&[host, ("origin", "null")], true),
        ] {
            let uri = Uri::from_static("/x");
            assert_eq!(is_from_other_site(&uri, &headers(given)), is_other, "{given:?}");
        }
    }
}
