use proptest::prelude::*;

use super::*;
use crate::model::{Counted, Scope};

/// 2026-11-17, a Tuesday, 00:00 UTC.
const TUESDAY_MS: u64 = 1_794_873_600_000;
const HOUR_MS: u64 = 3_600_000;

fn span() -> Span {
    let date = |text: &str| text.parse().unwrap();
    Span {
        from: date("2026-11-17"),
        last: date("2026-11-17"),
        monday: date("2026-11-16"),
        from_ms: TUESDAY_MS,
        to_ms: TUESDAY_MS + 24 * HOUR_MS,
    }
}

fn line(id: &str, node: &str, created_at_ms: u64, ended_at_ms: Option<u64>) -> MeetingLine {
    MeetingLine {
        key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: id.to_owned() },
        internal_id: format!("{id}-{created_at_ms}"),
        node: NodeName::new(node),
        created_at_ms,
        max_participants: 0,
        size_hint: 0,
        peak: 0,
        ended_at_ms,
        is_running: false,
        counts: Vec::new(),
    }
}

fn counted(line: MeetingLine, counts: &[(u32, u32)]) -> MeetingLine {
    let peak = counts.iter().map(|(_, attendees)| *attendees).max().unwrap_or_default();
    let counts = counts
        .iter()
        .map(|(after_s, attendees)| Counted { after_s: *after_s, attendees: *attendees });
    MeetingLine { counts: counts.collect(), peak, ..line }
}

fn up(node: &str, at_ms: u64, room: Option<f64>) -> NodeLine {
    NodeLine { node: NodeName::new(node), at_ms, room }
}

fn day(nodes: Vec<NodeLine>, lines: Vec<MeetingLine>) -> Day {
    let mut day = Day::new(span(), nodes, Names([7; 32]), TimeZone::UTC);
    for line in lines {
        day.meeting(line);
    }
    assert!(day.finish());
    day
}

/// The rows with their times in seconds since the span began, without rooms.
fn told(day: &Day) -> Vec<String> {
    let of = |row: &Row| {
        let what = match &row.what {
            What::Past { peak, duration_s, .. } => format!("past {peak} {duration_s}"),
            What::NodeUp { node, weight } => format!("up {node} {weight:?}"),
            What::NodeDown { node } => format!("down {node}"),
            What::Create { max_participants, hint, .. } => {
                format!("create {max_participants:?} {hint:?}")
            }
            What::Join { user, .. } => format!("join {user}"),
            What::Leave { user, .. } => format!("leave {user}"),
            What::End { .. } => "end".to_owned(),
            What::Count { .. } => "count".to_owned(),
        };
        format!("{} {what}", (row.at_ms - DAY_MS) / 1000)
    };
    day.rows.iter().map(of).collect()
}

#[test]
fn people_follow_the_counts_and_history_comes_before() {
    let before =
        counted(line("m", "a", TUESDAY_MS - HOUR_MS, Some(TUESDAY_MS - 60_000)), &[(9, 31)]);
    let mut now = counted(
        line("m", "a", TUESDAY_MS + HOUR_MS, Some(TUESDAY_MS + HOUR_MS + 60_000)),
        &[(10, 2), (40, 3), (50, 1)],
    );
    (now.max_participants, now.size_hint) = (50, 40);
    let nodes = vec![up("a", 1, Some(100.0)), up("b", 1, None)];
    let day = day(nodes, vec![before, now]);
    assert_eq!(
        told(&day),
        [
            "-3600 past 31 3540",
            "0 up n1 Some(0.5)",
            "3600 create Some(50) Some(40)",
            "3605 join 1",
            "3610 join 2",
            "3640 join 3",
            "3645 leave 1",
            "3650 leave 2",
            "3660 end",
        ]
    );
    let rooms: BTreeSet<_> = day
        .rows
        .iter()
        .filter_map(|row| match &row.what {
            What::Past { room, .. } | What::Create { room, .. } => Some(room.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(rooms.len(), 1);
    let text = format!("{rooms:?}");
    assert!(!text.contains("acme"), "{text}");
}

#[test]
fn an_end_that_nobody_has_seen_is_the_last_known_time_or_that_of_the_node() {
    let at = |hours: u64| TUESDAY_MS + hours * HOUR_MS;
    let nodes = vec![
        up("a", 1, Some(200.0)),
        up("b", 1, Some(400.0)),
        up("b", at(5), None),
        up("b", at(6), Some(600.0)),
    ];
    let vanished = counted(line("vanished", "a", at(1), None), &[(600, 3)]);
    let running = MeetingLine { is_running: true, ..line("running", "a", at(2), None) };
    let cut = line("cut", "b", at(4), None);
    let again = line("cut", "a", at(5) + 30_000, Some(at(7)));
    let day = day(nodes, vec![vanished, running, cut, again]);
    let told = told(&day);
    let kept = |what: &str| -> Vec<&str> {
        told.iter().filter(|row| row.contains(what)).map(String::as_str).collect()
    };
    assert_eq!(kept("create").len(), 3, "what was created again is the same: {told:?}");
    assert_eq!(kept("end"), ["4200 end", "25200 end", "86400 end"]);
    assert_eq!(
        told.iter().filter(|row| row.contains(" n")).map(String::as_str).collect::<Vec<_>>(),
        ["0 up n1 Some(1.0)", "0 up n2 Some(2.0)", "18000 down n2", "21600 up n2 None"]
    );
    assert_eq!(day.warnings.len(), 1, "{:?}", day.warnings);
    assert!(day.warnings[0].starts_with("1 node with another weight"));
}

#[test]
fn what_runs_already_is_created_at_the_beginning() {
    let begun = counted(
        line("m", "a", TUESDAY_MS - HOUR_MS, Some(TUESDAY_MS + HOUR_MS)),
        &[(60, 5), (7200, 4)],
    );
    let day = day(vec![up("a", TUESDAY_MS + 9 * HOUR_MS, Some(200.0))], vec![begun]);
    let told = told(&day);
    assert_eq!(told[..2], ["0 up n1 Some(1.0)", "0 create None None"]);
    assert_eq!(told.iter().filter(|row| row.starts_with("0 join")).count(), 5);
    assert_eq!(told.last().unwrap(), "3600 end");
}

#[test]
fn a_day_without_meetings_is_none() {
    let mut day = Day::new(span(), Vec::new(), Names::random(), TimeZone::UTC);
    day.meeting(line("m", "a", TUESDAY_MS - HOUR_MS, Some(TUESDAY_MS - 1)));
    assert!(!day.finish());
}

#[test]
fn names_are_other_ones_in_each_trace_and_equal_within_it() {
    let key = |id: &str| line(id, "a", 1, None).key;
    let (one, other) = (Names::random(), Names::random());
    assert_eq!(one.room(&key("m")), one.room(&key("m")));
    assert_ne!(one.room(&key("m")), one.room(&key("n")));
    assert_ne!(one.room(&key("m")), other.room(&key("m")));
    assert_ne!(one.room(&key("m")).tenant, other.room(&key("m")).tenant);
}

fn some_line() -> impl Strategy<Value = MeetingLine> {
    let counts = prop::collection::vec((0..100_000_u32, 0..40_u32), 0..12);
    (0..3_u8, 0..3_u8, 0..30_000_u64, prop::option::of(0..90_000_u64), any::<bool>(), counts)
        .prop_map(|(id, node, begin_s, for_s, is_running, mut counts)| {
            counts.sort_unstable();
            let created = TUESDAY_MS - HOUR_MS + begin_s * 3_000;
            let ended = for_s.map(|for_s| created + for_s * 1000);
            let line = line(&format!("m{id}"), &format!("n{node}"), created, ended);
            MeetingLine { is_running, ..counted(line, &counts) }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever was written down: in the order of time, one meeting of a room at a time, people only between its create
    /// and its end, and nobody leaves who is not there.
    #[test]
    fn a_day_can_be_played(
        lines in prop::collection::vec(some_line(), 1..20),
        nodes in prop::collection::vec((0..4_u8, 0..26_u64, prop::option::of(1.0..1000.0)), 0..12),
    ) {
        let mut nodes: Vec<_> = nodes
            .into_iter()
            .map(|(node, hour, room)| up(&format!("n{node}"), TUESDAY_MS - HOUR_MS + hour * HOUR_MS, room))
            .collect();
        nodes.sort_by_key(|line| line.at_ms);
        let mut day = Day::new(span(), nodes, Names([1; 32]), TimeZone::UTC);
        for line in lines {
            day.meeting(line);
        }
        if !day.finish() {
            return Ok(());
        }
        prop_assert!(day.rows.is_sorted_by_key(|row| row.at_ms));
        let mut open: HashMap<Room, BTreeSet<String>> = HashMap::new();
        let mut is_up: HashMap<String, bool> = HashMap::new();
        for Row { what, .. } in &day.rows {
            match what {
                What::Create { room, .. } => {
                    prop_assert!(open.insert(room.clone(), BTreeSet::new()).is_none());
                }
                What::Join { room, user, .. } => {
                    prop_assert!(open.get_mut(room).unwrap().insert(user.clone()));
                }
                What::Leave { room, user } => {
                    prop_assert!(open.get_mut(room).unwrap().remove(user));
                }
                What::End { room } => prop_assert!(open.remove(room).is_some()),
                What::NodeUp { node, weight } => {
                    let before = is_up.insert(node.clone(), true);
                    prop_assert_eq!(before, weight.is_none().then_some(false));
                }
                What::NodeDown { node } => {
                    prop_assert_eq!(is_up.insert(node.clone(), false), Some(true));
                }
                What::Past { .. } | What::Count { .. } => {}
            }
        }
        prop_assert!(open.is_empty());
    }
}
