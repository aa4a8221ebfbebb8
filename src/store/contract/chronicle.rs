//! What every store must do with what is written down of meetings and nodes.

use crate::model::{Counted, MeetingKey, MeetingLine, NodeLine, NodeName, Scope};
use crate::store::{ChronicleReader, Store};

fn line(id: &str, created_at_ms: u64) -> MeetingLine {
    MeetingLine {
        key: MeetingKey { scope: Scope::parse("acme-5").unwrap(), id: id.to_owned() },
        internal_id: format!("{id}-{created_at_ms}"),
        node: NodeName::new("bbb01"),
        created_at_ms,
        max_participants: 0,
        size_hint: 0,
        peak: 0,
        ended_at_ms: None,
        is_running: false,
        counts: Vec::new(),
    }
}

fn counts(counts: &[(u32, u32)]) -> Vec<Counted> {
    counts
        .iter()
        .map(|(after_s, attendees)| Counted { after_s: *after_s, attendees: *attendees })
        .collect()
}

async fn all(reader: &dyn ChronicleReader, before_ms: u64) -> Vec<MeetingLine> {
    let (mut all, mut behind) = (Vec::new(), (0, String::new()));
    loop {
        let page = reader.meetings(&behind, before_ms, 2).await.unwrap();
        let is_last = page.len() < 2;
        for (place, line) in page {
            behind = place;
            all.extend(line);
        }
        if is_last {
            return all;
        }
    }
}

pub(in crate::store) async fn what_is_written_down_adds_up(
    store: &dyn Store,
    reader: &dyn ChronicleReader,
) {
    let odd = "\\0 odd 'id' \\\\ \u{0} ü";
    let created = MeetingLine { max_participants: 50, size_hint: 30, ..line(odd, 1_000) };
    let counted = MeetingLine { peak: 7, counts: counts(&[(5, 3), (9, 7)]), ..line(odd, 1_000) };
    let ended = MeetingLine {
        peak: 2,
        ended_at_ms: Some(60_000),
        counts: counts(&[(20, 1)]),
        ..line(odd, 1_000)
    };
    // Whoever polls may be quicker than whoever creates.
    store.write_meetings(&[counted, line("b", 1_000)]).await.unwrap();
    store.write_meetings(std::slice::from_ref(&created)).await.unwrap();
    // Nobody knows whether the first time was heard.
    for _ in 0..2 {
        store.write_meetings(&[line("c", 2_000), ended.clone()]).await.unwrap();
    }
    store.write_meetings(&[]).await.unwrap();
    let whole = MeetingLine {
        peak: 7,
        ended_at_ms: Some(60_000),
        counts: counts(&[(5, 3), (9, 7), (20, 1)]),
        ..created
    };
    let read = all(reader, 2_001).await;
    assert_eq!(read.len(), 3);
    assert!(read.contains(&whole), "{read:?}");
    assert_eq!(read[2], line("c", 2_000));
    assert_eq!(all(reader, 2_000).await.len(), 2);
    assert_eq!(reader.creates().await.unwrap(), [1_000, 1_000, 2_000]);
    // What the store has as running is told.
    let running = super::meeting("acme-5", "c", "c-2000");
    store.put_meeting(&running).await.unwrap();
    assert_eq!(all(reader, 2_001).await[2], MeetingLine { is_running: true, ..line("c", 2_000) });
    // Old ones go, and of the others the oldest.
    store.write_meetings(&[line("d", 3_000), line("e", 4_000)]).await.unwrap();
    for left in [1, 1, 0] {
        assert_eq!(store.forget_chronicle(2_000, 10, 1).await.unwrap(), left, "one at a time");
    }
    assert_eq!(store.forget_chronicle(0, 2, 10).await.unwrap(), 1);
    assert_eq!(reader.creates().await.unwrap(), [3_000, 4_000]);
    // However long a meeting lasts, its row does not grow for ever.
    let long = MeetingLine { counts: counts(&[(1_000_000, 1_000); 500]), ..line("d", 3_000) };
    for _ in 0..10 {
        store.write_meetings(std::slice::from_ref(&long)).await.unwrap();
    }
    assert_eq!(all(reader, 9_000).await.len(), 2);
}

pub(in crate::store) async fn of_nodes_is_written_down_what_is_news(
    store: &dyn Store,
    reader: &dyn ChronicleReader,
) {
    let line = |node: &str, at_ms, room| NodeLine { node: NodeName::new(node), at_ms, room };
    for (at_ms, room) in [
        (10, Some(200.0)),
        // A restart, or another instance.
        (20, Some(200.0)),
        (30, None),
        (30, None),
        // Too late.
        (25, None),
        (40, Some(400.0)),
    ] {
        store.write_nodes(&[line("b", at_ms, room), line("a", 5, None)]).await.unwrap();
    }
    let expected = [
        line("a", 5, None),
        line("b", 10, Some(200.0)),
        line("b", 30, None),
        line("b", 40, Some(400.0)),
    ];
    assert_eq!(reader.nodes().await.unwrap(), expected);
    // What it was before the time that is kept is still known.
    store.forget_chronicle(35, 10, 10).await.unwrap();
    assert_eq!(reader.nodes().await.unwrap(), [&expected[..1], &expected[2..]].concat());
}
