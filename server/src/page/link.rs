//! Links within the page.

use std::fmt;

/// A path of the service with a query.
#[derive(Clone)]
pub(crate) struct Link {
    path: String,
    query: Vec<(&'static str, String)>,
}

impl Link {
    pub(crate) fn to(path: impl Into<String>) -> Self {
        Self { path: path.into(), query: Vec::new() }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a parameter unless it is empty.
    pub(crate) fn with_some(self, name: &'static str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(name, value) }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.query.is_empty() {
            return Ok(());
        }
        let query = serde_urlencoded::to_string(&self.query).map_err(|_| fmt::Error)?;
        write!(f, "?{query}")
    }
}

impl maud::Render for Link {
    fn render_to(&self, to: &mut String) {
        self.to_string().render_to(to);
    }
}

/// A path of this service that a form gave as the next page; `/` instead of any other address.
pub(crate) fn own_path(given: &str) -> String {
    let is_own = given.starts_with('/')
        && !given.starts_with("//")
        && given.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { given.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_encoded_and_an_empty_one_is_left_out() {
        let link = Link::to("/executions").with("lane", "a&b=\"c\"").with_some("kind", "");
        assert_eq!(link.to_string(), "/executions?lane=a%26b%3D%22c%22");
        assert_eq!(Link::to("/").to_string(), "/");
    }

    #[test]
    fn the_next_page_is_one_of_this_service() {
        assert_eq!(own_path("/executions?lane=a"), "/executions?lane=a");
        let others = ["https://x", "//x", "/\\x", "javascript:x", "", "x", "/\nx", "/ x"];
        for other in others {
            assert_eq!(own_path(other), "/", "{other:?}");
        }
    }
}
