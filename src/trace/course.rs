//! What no single row tells: which nodes are up, and which rooms have a meeting.
//!
//! A room has a meeting from its create to its end. Where its node has failed, the same meeting may be created again:
//! for whoever says where meetings were [placed](Course::placed), as a file does not know it.

use std::collections::HashMap;

use super::{Room, What};

/// See the module.
#[derive(Debug, Default)]
pub struct Course {
    /// Whether it is up.
    nodes: HashMap<String, bool>,
    open: HashMap<Room, On>,
}

/// Where a meeting is.
#[derive(Debug)]
enum On {
    /// Nobody has said it.
    Somewhere,
    Node(String),
    /// On none: its node has failed.
    Lost,
}

/// A row of what cannot be after the rows before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The first `node_up` of a node says how large it is.
    #[error("node {0} is new, and has no weight; its first node_up has to name it in column a")]
    NoWeight(String),
    /// It was not gone.
    #[error("node {0} is up already; a node_down has to come before its next node_up")]
    UpAlready(String),
    /// No row has told of it.
    #[error("node {0} is unknown; a node_up has to come first")]
    Unknown(String),
    /// It was gone.
    #[error("node {0} is down already; a node_up has to come before its next node_down")]
    DownAlready(String),
    /// A room has one meeting at a time.
    #[error("{0} is created again before its end; an end has to come before its next create")]
    RunsAlready(Room),
    /// A row of somebody in no meeting.
    #[error("{room} is not there; a create has to come before its {event}")]
    NoMeeting {
        /// Which room.
        room: Room,
        /// What kind of row it is.
        event: &'static str,
    },
}

impl Course {
    /// Takes note of the next row.
    ///
    /// # Errors
    /// Where it cannot be after those before it; it is not taken note of then.
    pub fn look(&mut self, what: &What) -> Result<(), Misplaced> {
        match what {
            What::Past { .. } => Ok(()),
            What::NodeUp { node, weight } => match (self.nodes.get_mut(node), weight) {
                (None, None) => Err(Misplaced::NoWeight(node.clone())),
                (None, Some(_)) => {
                    self.nodes.insert(node.clone(), true);
                    Ok(())
                }
                (Some(true), _) => Err(Misplaced::UpAlready(node.clone())),
                (Some(is_up), _) => {
                    *is_up = true;
                    Ok(())
                }
            },
            What::NodeDown { node } => match self.nodes.get_mut(node) {
                None => Err(Misplaced::Unknown(node.clone())),
                Some(false) => Err(Misplaced::DownAlready(node.clone())),
                Some(is_up) => {
                    *is_up = false;
                    for on in self.open.values_mut() {
                        if matches!(on, On::Node(name) if name == node) {
                            *on = On::Lost;
                        }
                    }
                    Ok(())
                }
            },
            What::Create { room, .. } => match self.open.get_mut(room) {
                None => {
                    self.open.insert(room.clone(), On::Somewhere);
                    Ok(())
                }
                Some(on @ On::Lost) => {
                    *on = On::Somewhere;
                    Ok(())
                }
                Some(_) => Err(Misplaced::RunsAlready(room.clone())),
            },
            What::Join { room, .. } => self.must_be_open(room, "join"),
            What::Leave { room, .. } => self.must_be_open(room, "leave"),
            What::Count { room, .. } => self.must_be_open(room, "count"),
            What::End { room } => {
                self.must_be_open(room, "end")?;
                self.open.remove(room);
                Ok(())
            }
        }
    }

    /// The meeting of this room was put on this node: when that fails, it may be created again.
    pub fn placed(&mut self, room: &Room, node: &str) {
        if let Some(on) = self.open.get_mut(room) {
            *on = On::Node(node.to_owned());
        }
    }

    /// Also while its node has failed, and it is not created again yet: rows of it may come, and its end.
    fn must_be_open(&self, room: &Room, event: &'static str) -> Result<(), Misplaced> {
        if self.open.contains_key(room) {
            return Ok(());
        }
        Err(Misplaced::NoMeeting { room: room.clone(), event })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    /// The rows up to the first that cannot be; where they are placed, on the node of the last `node_up`.
    fn look(rows: &str, is_placed: bool) -> Result<(), String> {
        let (mut course, mut rows, mut last) =
            (Course::default(), Rows::new(rows.as_bytes()), String::new());
        while let Some(row) = rows.read().unwrap() {
            let told = course.look(&row.what);
            told.map_err(|why| format!("line {}: {why}", rows.line()))?;
            match row.what {
                What::NodeUp { node, .. } => last = node,
                What::Create { room, .. } if is_placed => course.placed(&room, &last),
                _ => {}
            }
        }
        Ok(())
    }

    const DAY: &str = "-5,past,t,x,,,3,60\n0,node_up,,,,n0,1,\n1,create,t,a,,,0,0\n2,join,t,a,1,,,\n\
                       5,count,t,a,,n0,1,\n6,leave,t,a,1,,,\n";

    #[test]
    fn a_meeting_whose_node_has_failed_may_be_created_again() {
        let failed = format!("{DAY}10,node_down,,,,n0,,\n11,node_up,,,,n0,,\n");
        let rest = "20,join,t,a,2,,,\n21,count,t,a,,n0,1,\n22,end,t,a,,,,\n23,create,t,a,,,0,0\n24,end,t,a,,,,\n";
        for again in ["", "15,create,t,a,,,0,0\n"] {
            assert_eq!(look(&format!("{failed}{again}{rest}"), true), Ok(()));
        }
        let twice = format!("{failed}15,create,t,a,,,0,0\n16,create,t,a,,,0,0\n");
        assert!(look(&twice, true).unwrap_err().contains("line 10: t/a is created again"));
        // A file does not say where it was.
        let again = format!("{failed}15,create,t,a,,,0,0\n");
        assert!(look(&again, false).unwrap_err().contains("line 9: t/a is created again"));
    }

    #[test]
    fn what_cannot_be_after_the_rows_before_is_told_with_what_has_to_be() {
        for (row, told) in [
            (
                "9,create,t,a,,,0,0\n",
                "t/a is created again before its end; an end has to come before its next create",
            ),
            ("9,end,t,b,,,,\n", "t/b is not there; a create has to come before its end"),
            ("9,join,t,b,1,,,\n", "t/b is not there; a create has to come before its join"),
            ("9,leave,t,b,1,,,\n", "t/b is not there; a create has to come before its leave"),
            ("9,count,t,b,,n0,1,\n", "t/b is not there; a create has to come before its count"),
            ("9,join,t,x,1,,,\n", "t/x is not there; a create has to come before its join"),
            (
                "9,node_up,,,,n0,1,\n",
                "node n0 is up already; a node_down has to come before its next node_up",
            ),
            ("9,node_up,,,,n1,,\n", "node n1 is new, and has no weight; its first node_up has to"),
            ("9,node_down,,,,n1,,\n", "node n1 is unknown; a node_up has to come first"),
        ] {
            let why = look(&format!("{DAY}{row}"), true).unwrap_err();
            assert!(why.starts_with(&format!("line 7: {told}")), "{row}: {why}");
        }
        let twice = format!("{DAY}9,node_down,,,,n0,,\n9,node_down,,,,n0,,\n");
        let told =
            "line 8: node n0 is down already; a node_up has to come before its next node_down";
        assert_eq!(look(&twice, true), Err(told.to_owned()));
        let over = format!("{DAY}9,end,t,a,,,,\n9,end,t,a,,,,\n");
        assert!(look(&over, true).unwrap_err().starts_with("line 8: t/a is not there"));
    }
}
