//! What every store must do with commands.

use crate::model::Command;
use crate::store::Store;
use crate::store::commands::{COMMANDS_KEPT_MS, MAX_COMMANDS};

fn command(id: &str, created_at_ms: u64) -> Command {
    Command {
        id: id.to_owned(),
        number: 0,
        backend: "0c1f".to_owned(),
        created_at_ms,
        deadline_ms: created_at_ms + 1000,
        started_at_ms: None,
        stopped_at_ms: None,
        failure: None,
    }
}

pub(in crate::store) async fn what_is_done_gives_way_and_what_is_not_does_not(store: &dyn Store) {
    assert_eq!(store.commands().await.unwrap(), []);
    assert_eq!(store.find_command("\0").await.unwrap(), None);
    let mut begun = Vec::new();
    for number in 0..MAX_COMMANDS {
        let mut command = command(&format!("c{number}"), 5000);
        command.number = store.add_command(&command).await.unwrap().expect("room");
        begun.push(command);
    }
    assert!(begun.is_sorted_by_key(|command| command.number));
    assert_eq!(store.commands().await.unwrap(), begun);
    assert_eq!(store.add_command(&command("more", 5000)).await.unwrap(), None);

    let started = Command { started_at_ms: Some(5001), ..begun[7].clone() };
    store.note_command(&started).await.unwrap();
    assert_eq!(store.find_command("c7").await.unwrap(), Some(started.clone()));
    assert_eq!(store.add_command(&command("more", 5000)).await.unwrap(), None);
    let failure = Some("\0 came to nothing".to_owned());
    let stopped = Command { stopped_at_ms: Some(5002), failure, ..started };
    store.note_command(&stopped).await.unwrap();
    // Whoever was slower has nothing to say.
    store.note_command(&Command { failure: None, ..stopped.clone() }).await.unwrap();
    assert_eq!(store.find_command("c7").await.unwrap(), Some(stopped.clone()));
    let number = store.add_command(&command("more", 5000)).await.unwrap().expect("room");
    assert!(number > begun[begun.len() - 1].number);
    assert_eq!(store.find_command("c7").await.unwrap(), None);
    store.note_command(&stopped).await.unwrap();
    assert_eq!(store.find_command("c7").await.unwrap(), None);

    // Past its deadline one is kept while nobody needs its place, and then for a while.
    store.add_command(&command("late", 6001)).await.unwrap().expect("room");
    assert_eq!(store.find_command("c0").await.unwrap(), None);
    assert!(store.find_command("c1").await.unwrap().is_some());
    let later = 6001 + u64::try_from(COMMANDS_KEPT_MS).unwrap();
    store.add_command(&command("last", later)).await.unwrap().expect("room");
    let left = store.commands().await.unwrap().into_iter().map(|command| command.id);
    assert_eq!(left.collect::<Vec<_>>(), ["late", "last"]);
}
