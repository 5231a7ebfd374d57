//! A list with a constant maximum length: a push to a full list drops the oldest element.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A list of at most `N` elements, oldest first. Pushing to a full list drops the oldest element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", into = "Vec<T>")]
#[serde(bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct Bounded<T, const N: usize>(Vec<T>);

impl<T, const N: usize> Bounded<T, N> {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether the list has `N` elements, so that the next push drops the oldest one.
    pub const fn is_full(&self) -> bool {
        self.0.len() == N
    }

    /// Appends an element. Drops the oldest one if the list is full.
    pub fn push(&mut self, element: T) {
        if self.is_full() {
            self.0.remove(0);
        }
        self.0.push(element);
    }
}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Deref for Bounded<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for Bounded<T, N> {
    type Error = String;

    fn try_from(elements: Vec<T>) -> Result<Self, String> {
        if elements.len() > N {
            let count = elements.len();
            return Err(format!("list of {count} elements is too long: at most {N} are allowed"));
        }
        Ok(Self(elements))
    }
}

impl<T, const N: usize> From<Bounded<T, N>> for Vec<T> {
    fn from(list: Bounded<T, N>) -> Self {
        list.0
    }
}

/// Returns the longest prefix of `text` that has at most `max_bytes` bytes and ends at a character
/// boundary.
pub fn truncated(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_drops_its_oldest_element() {
        let mut list = Bounded::<u8, 2>::new();
        for element in [1, 2, 3] {
            list.push(element);
        }
        assert_eq!(&*list, &[2, 3]);
    }

    #[test]
    fn truncation_never_splits_a_character() {
        assert_eq!(truncated("añb", 2), "a");
        assert_eq!(truncated("añb", 3), "añ");
        assert_eq!(truncated("ab", 9), "ab");
    }
}
