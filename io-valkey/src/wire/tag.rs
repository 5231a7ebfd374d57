//! The tag of a call, which proves that a reply belongs to it.
//!
//! A connection delivers replies in the order of its calls and names no call in them. One reply too
//! many or too few, from a proxy or a broken server, would shift every later reply to another call.

use super::decode::{Answer, WireError};

/// A number that the last argument of a call carries, and that its reply repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag([u8; 8]);

impl Tag {
    /// Creates the tag with this number, which must be new for each call.
    pub const fn new(number: u64) -> Self {
        Self(number.to_be_bytes())
    }

    /// The argument of the call.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Removes the tag from the reply to the call.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the reply does not end with this tag: it belongs to another call.
    pub fn remove_from(self, answer: Answer) -> Result<Answer, WireError> {
        let Answer::List(mut items) = answer else { return Err(WireError::OTHER_CALL) };
        match items.pop() {
            Some(Answer::Data(tag)) if tag == self.0 => Ok(Answer::List(items)),
            _ => Err(WireError::OTHER_CALL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_with_the_same_tag_at_its_end_is_accepted() {
        let (ours, other) = (Tag::new(7), Tag::new(8));
        let data = |tag: Tag| Answer::Data(tag.as_bytes().to_vec());
        let reply = Answer::List(vec![Answer::Number(1), data(ours)]);
        assert_eq!(ours.remove_from(reply.clone()), Ok(Answer::List(vec![Answer::Number(1)])));
        let wrong = [
            reply,
            Answer::List(vec![]),
            data(other),
            Answer::List(vec![data(other), Answer::Nil]),
        ];
        for answer in wrong {
            assert_eq!(other.remove_from(answer), Err(WireError::OTHER_CALL));
        }
    }
}
