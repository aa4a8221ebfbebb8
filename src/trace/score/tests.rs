use std::fmt::Write;

use super::*;
use crate::trace::{Row, Rows};

fn rows(text: &str) -> Vec<Row> {
    let mut rows = Rows::new(text.as_bytes());
    let mut all = Vec::new();
    while let Some(row) = rows.read().unwrap() {
        all.push(row);
    }
    all
}

fn room(meeting_id: &str) -> Room {
    Room { tenant: "t".to_owned(), meeting_id: meeting_id.to_owned() }
}

fn placed(at_ms: i64, meeting_id: &str, node: &str) -> Placement {
    Placement { at_ms, room: room(meeting_id), node: node.to_owned() }
}

const TWO: &str = "-5,past,t,a,,,3,60\n0,node_up,,,,n0,1,\n0,node_up,,,,n1,2,\n10000,create,t,a,,,0,0\n\
                   10000,join,t,a,1,,5000,0\n10000,join,t,a,2,,5000,0\n10000,create,t,b,,,0,0\n\
                   10000,join,t,b,1,,5000,0\n10000,join,t,b,2,,-1,0\n600000,leave,t,a,2,,,\n\
                   900000,end,t,a,,,,\n900000,end,t,b,,,,\n";

#[test]
fn how_full_the_fullest_node_is_stands_against_what_it_had_to_be() {
    let day = Day::of(&rows(TWO)).unwrap();
    let apart = day.score(&[placed(10_000, "a", "n1"), placed(10_000, "b", "n0")]).unwrap();
    assert_eq!((apart.nodes, apart.meetings), (2, 2));
    // Two of 400 and one of 200, of three in 600.
    // When one has left, what is left could stand on both.
    assert!((apart.peak - 0.005).abs() < 1e-9 && (apart.imb_max - 1.5).abs() < 1e-9, "{apart:?}");
    let one = day.score(&[placed(10_000, "a", "n0"), placed(10_000, "b", "n0")]).unwrap();
    assert!((one.peak - 0.015).abs() < 1e-9 && (one.imb_p99 - 3.0).abs() < 1e-9, "{one:?}");
}

#[test]
fn placements_of_another_day_are_refused() {
    let day = Day::of(&rows(TWO)).unwrap();
    let a = placed(10_000, "a", "n1");
    let not_placed = Error::NotPlaced { at_ms: 10_000, room: room("b") };
    assert_eq!(day.score(std::slice::from_ref(&a)).unwrap_err(), not_placed);
    let unknown = day.score(&[a.clone(), placed(10_000, "b", "n2")]).unwrap_err();
    assert_eq!(unknown, Error::UnknownNode("n2".to_owned()));
    let all = [a, placed(10_000, "b", "n0"), placed(20_000, "b", "n1")];
    let moved = Error::Moved { at_ms: 20_000, room: room("b") };
    assert_eq!(day.score(&all).unwrap_err(), moved);
    assert_eq!(
        Day::of(&rows("5,end,t,a,,,,\n")).unwrap_err(),
        Error::NoMeeting { what: "end", at_ms: 5, room: room("a") }
    );
    let nobody = Day::of(&rows("5,node_up,,,,n0,1,\n")).unwrap();
    assert_eq!(nobody.score(&[]).unwrap_err(), Error::Nobody);
    let (late, far) = (rows("3000000000000,node_up,,,,n0,1,\n"), Error::Time(3_000_000_000_000));
    assert_eq!(Day::of(&late).unwrap_err(), far);
}

#[test]
fn a_meeting_whose_node_failed_is_where_it_was_created_again() {
    let text = TWO.replace("600000,leave", "60000,node_down,,,,n1,,\n600000,leave");
    let day = Day::of(&rows(&text)).unwrap();
    let (a, b) = (placed(10_000, "a", "n1"), placed(10_000, "b", "n0"));
    let at_ms = 60_000 + recreate_after_ms(&room("a"));
    let none = Error::NotPlacedAgain { at_ms, room: room("a") };
    assert_eq!(day.score(&[a.clone(), b.clone()]).unwrap_err(), none);
    let again = placed(at_ms, "a", "n0");
    assert!(day.score(&[a.clone(), b.clone(), again]).is_ok());
    // What was not played to its end counts as long as it was.
    let mut cut = Day::of(&rows(&text)).unwrap();
    cut.cut(|room, _| (room.meeting_id == "a").then_some(60_000));
    assert_eq!(cut.score(&[a]).unwrap().meetings, 1);
}

/// Six meetings of ten on two nodes, which end at two hours, and what becomes of nodes.
fn six(downs: &str) -> (Vec<Row>, Vec<Placement>) {
    let mut text = "0,node_up,,,,n0,1,\n0,node_up,,,,n1,1,\n".to_owned();
    let mut placements = Vec::new();
    for meeting in 0..6 {
        let (at_ms, id) = (60_000 + meeting * 2_000, format!("m{meeting}"));
        writeln!(text, "{at_ms},create,t,{id},,,0,0").unwrap();
        for user in 0..10 {
            writeln!(text, "{},join,t,{id},{user},,2000,0", at_ms + user * 100).unwrap();
        }
        placements.push(placed(at_ms, &id, ["n0", "n1"][usize::from(meeting % 2 == 1)]));
    }
    text.push_str(downs);
    for meeting in 0..6 {
        writeln!(text, "{},end,t,m{meeting},,,,", 7_200_000 + meeting).unwrap();
    }
    (rows(&text), placements)
}

#[test]
fn while_people_are_on_their_way_back_the_fullest_node_may_be_below_ideal_as_the_scorer_has_it() {
    let told = |downs: &str, figures: [(&str, f64); 4]| {
        let (rows, placements) = six(downs);
        let scored = Day::of(&rows).unwrap().score(&placements).unwrap();
        let told = serde_json::to_value(&scored).unwrap();
        for (figure, expected) in figures {
            assert!((told[figure].as_f64().unwrap() - expected).abs() < 1e-6, "{figure}: {told}");
        }
    };
    // What score.py prints.
    let one = "7195000,node_down,,,,n1,,\n";
    told(one, [("peak_ratio", 0.5), ("imb_p99", 1.0), ("imb_mean", 0.9985), ("cv", 0.0003)]);
    // Where no node is left it divides by zero: here such a time is not busy.
    let both = "7195000,node_down,,,,n1,,\n7197000,node_down,,,,n0,,\n";
    told(both, [("peak_ratio", 1.0), ("imb_p99", 1.0), ("imb_mean", 1.0), ("imb_max", 1.0244)]);
}
