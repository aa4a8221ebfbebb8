//! Writing the rows of a trace.

use std::io::{self, Write};

use super::{HEADER, Room, Row, What};

/// Writes rows, behind the header. They have to come in the order of time.
pub struct Writer<W> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// Those of what it is written to.
    pub fn new(mut to: W) -> io::Result<Self> {
        writeln!(to, "{}", HEADER.join(","))?;
        Ok(Self { to })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Those of what it is written to, and where a name holds what would end its column.
    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        let at_ms = row.at_ms;
        let [tenant, meeting_id, user, node, a, b] = columns(&row.what);
        for name in [&tenant, &meeting_id, &user, &node] {
            if name.contains([',', '"', '\n', '\r']) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a name in a trace must not hold a comma, a quote or the end of a line",
                ));
            }
        }
        let event = event(&row.what);
        writeln!(self.to, "{at_ms},{event},{tenant},{meeting_id},{user},{node},{a},{b}")
    }

    /// All that was written to.
    pub fn into_inner(self) -> W {
        self.to
    }
}

fn event(what: &What) -> &'static str {
    match what {
        What::Past { .. } => "past",
        What::NodeUp { .. } => "node_up",
        What::NodeDown { .. } => "node_down",
        What::Create { .. } => "create",
        What::Join { .. } => "join",
        What::Leave { .. } => "leave",
        What::End { .. } => "end",
        What::Count { .. } => "count",
    }
}

/// From `tenant` on. Of what somebody does in a meeting nobody has written down; they listen.
fn columns(what: &What) -> [String; 6] {
    let text = |text: &str| text.to_owned();
    let none = String::new;
    let number = |number: Option<u32>| number.unwrap_or_default().to_string();
    let of = |room: &Room, user: &str, node: &str, a: String, b: String| {
        [text(&room.tenant), text(&room.meeting_id), text(user), text(node), a, b]
    };
    match what {
        What::Past { room, peak, duration_s } => {
            of(room, "", "", peak.to_string(), duration_s.to_string())
        }
        What::NodeUp { node, weight } => {
            let weight = weight.map(|weight| weight.to_string());
            [none(), none(), none(), text(node), weight.unwrap_or_default(), none()]
        }
        What::NodeDown { node } => [none(), none(), none(), text(node), none(), none()],
        What::Create { room, max_participants, hint } => {
            of(room, "", "", number(*max_participants), number(*hint))
        }
        What::Join { room, user, counted_after_ms } => {
            let after = counted_after_ms.map(|after| after.to_string());
            of(room, user, "", after.unwrap_or_default(), text("0"))
        }
        What::Leave { room, user } => of(room, user, "", none(), none()),
        What::End { room } => of(room, "", "", none(), none()),
        What::Count { room, node, attendees } => of(room, "", node, attendees.to_string(), none()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{FARTHEST_MS, Rows};
    use super::*;
    use crate::model::MOST_ATTENDEES;

    fn name() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9 @ü._-]{1,12}"
    }

    fn what() -> impl Strategy<Value = What> {
        let room = || (name(), name()).prop_map(|(tenant, meeting_id)| Room { tenant, meeting_id });
        let some = || prop::option::of(1..100_000_u32);
        prop_oneof![
            (room(), 0..=MOST_ATTENDEES, any::<u64>())
                .prop_map(|(room, peak, duration_s)| What::Past { room, peak, duration_s }),
            (name(), prop::option::of(0.001..1000.0))
                .prop_map(|(node, weight)| What::NodeUp { node, weight }),
            name().prop_map(|node| What::NodeDown { node }),
            (room(), some(), some()).prop_map(|(room, max_participants, hint)| What::Create {
                room,
                max_participants,
                hint
            }),
            (room(), name(), prop::option::of(-FARTHEST_MS..=FARTHEST_MS)).prop_map(
                |(room, user, counted_after_ms)| What::Join { room, user, counted_after_ms }
            ),
            (room(), name()).prop_map(|(room, user)| What::Leave { room, user }),
            room().prop_map(|room| What::End { room }),
            (room(), name(), 0..=MOST_ATTENDEES).prop_map(|(room, node, attendees)| What::Count {
                room,
                node,
                attendees
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(rows in prop::collection::vec((-FARTHEST_MS..=FARTHEST_MS, what()), 0..40)) {
            let mut rows: Vec<_> = rows.into_iter().map(|(at_ms, what)| Row { at_ms, what }).collect();
            rows.sort_by_key(|row| row.at_ms);
            let mut writer = Writer::new(Vec::new()).unwrap();
            for row in &rows {
                writer.write(row).unwrap();
            }
            let text = writer.into_inner();
            let (mut reader, mut read) = (Rows::new(text.as_slice()), Vec::new());
            while let Some(row) = reader.read().unwrap() {
                read.push(row);
            }
            prop_assert_eq!(read, rows);
        }
    }

    #[test]
    fn a_name_that_would_end_its_column_is_refused() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for node in ["a,b", "a\"b", "a\nb"] {
            let what = What::NodeDown { node: node.to_owned() };
            assert!(writer.write(&Row { at_ms: 0, what }).is_err());
        }
    }
}
