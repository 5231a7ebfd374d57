//! The files of the pages, which the program contains.

use std::sync::LazyLock;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::view::hex;

/// A file with its hash.
struct Asset {
    kind: &'static str,
    text: &'static str,
    /// Changes with the content.
    tag: String,
}

static CSS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("page.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("page.js")));

impl Asset {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let tag = format!("\"{}\"", hex(&Sha256::digest(text.as_bytes())));
        Self { kind, text, tag }
    }

    /// The file, unless the browser has it already. It asks each time.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let common = [(header::ETAG, &*self.tag), (header::CACHE_CONTROL, "no-cache")];
        let has = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let has = has.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == self.tag));
        if has {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(header::CONTENT_TYPE, self.kind)], self.text).into_response()
    }
}

pub(super) async fn css(headers: HeaderMap) -> Response {
    CSS.answer(&headers)
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    SCRIPT.answer(&headers)
}
