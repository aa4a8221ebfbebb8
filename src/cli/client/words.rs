//! What the API would have one do, as commands.

/// The API's words, and ours; `NAME` is what they are about.
const WORDS: &[(&str, &str)] = &[
    (
        "Set its state to draining and remove it when it is empty; `?force=true` ends them",
        "Drain it with `portico node drain NAME --wait` and remove it then; `portico node delete NAME --force` ends \
         them",
    ),
    (
        "`?force=true` removes it all the same",
        "`portico node delete NAME --force` removes it all the same",
    ),
    (
        "Wait until they are over; `?force=true` removes it and ends them",
        "Wait until they are over; `portico tenant delete NAME --force` removes it and ends them",
    ),
    (
        "finish it, or end it with a PATCH of an empty secret2",
        "`portico secret rotate NAME --now --value-file FILE` ends it, with the value in FILE as the only one",
    ),
    ("set its state to ready", "`portico node ready NAME`"),
    (
        "ask for a probe of the node, which says what is wrong and what helps",
        "`portico node probe NAME` says what is wrong and what helps",
    ),
];

/// The same, about this object.
pub(super) fn of(text: &str, name: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, (theirs, ours)| {
        text.replace(theirs, &ours.replace("NAME", name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_are_the_words_of_the_api() {
        let api = [
            include_str!("../../admin/api/removal.rs"),
            include_str!("../../admin/api/explanation.rs"),
            include_str!("../../admin/api/secrets.rs"),
        ]
        .concat();
        // As the compiler joins the lines of a text.
        let joined: Vec<_> = api.split("\\\n").map(str::trim_start).collect();
        for (theirs, _) in WORDS {
            assert!(joined.concat().contains(theirs), "{theirs}");
        }
        assert_eq!(
            of("it is so: set its state to ready", "n1"),
            "it is so: `portico node ready n1`"
        );
    }
}
