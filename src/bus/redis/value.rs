//! Redis' answers, read. What is not of the form that we have written is nothing.

use bytes::Bytes;
use redis::Value;

use crate::bus::{Event, Position};
use crate::model::InstanceId;

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// `ms-seq`.
pub(super) fn position(value: Value) -> Option<Position> {
    let text = text(value)?;
    let (ms, seq) = text.split_once('-')?;
    Some(Position { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
}

/// What XREAD gives for the one stream that it is asked for; an empty answer is no events.
pub(super) fn read(value: Value) -> Option<Vec<Event>> {
    if value == Value::Nil {
        return Some(Vec::new());
    }
    let stream = array(value)?.into_iter().next()?;
    events(array(stream)?.into_iter().nth(1)?)
}

/// What XRANGE gives.
pub(super) fn events(value: Value) -> Option<Vec<Event>> {
    array(value)?.into_iter().map(event).collect()
}

fn event(value: Value) -> Option<Event> {
    let mut parts = array(value)?.into_iter();
    let at = position(parts.next()?)?;
    let mut fields = array(parts.next()?)?.into_iter();
    let (mut author, mut payload) = (None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match bytes(name)?.as_slice() {
            b"author" => author = Some(InstanceId::named(&text(value)?)),
            b"payload" => payload = Some(Bytes::from(bytes(value)?)),
            _ => {}
        }
    }
    Some(Event { at, author: author?, payload: payload? })
}

/// Whether these come directly after this place, and one after the other.
pub(super) fn follow(events: &[Event], after: Position) -> bool {
    // Anybody may have put the greatest place there is into the log.
    events
        .iter()
        .zip(1..)
        .all(|(event, number)| after.seq.checked_add(number) == Some(event.at.seq))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_place_is_without_a_gap() {
        let at = |seq| Position { ms: 1, seq };
        let events = |seqs: &[u64]| {
            let event = |seq: &u64| Event {
                at: at(*seq),
                author: InstanceId::new("a"),
                payload: Bytes::new(),
            };
            seqs.iter().map(event).collect::<Vec<_>>()
        };
        assert!(follow(&events(&[]), at(u64::MAX)));
        assert!(follow(&events(&[5, 6, 7]), at(4)));
        assert!(follow(&events(&[u64::MAX]), at(u64::MAX - 1)));
        for (seqs, after) in [(&[5, 7][..], 4), (&[6], 4), (&[4], 4), (&[0], u64::MAX)] {
            assert!(!follow(&events(seqs), at(after)), "{seqs:?} after {after}");
        }
    }
}
