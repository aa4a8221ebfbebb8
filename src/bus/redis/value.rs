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

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}
