//! What a front end says of the size of its meeting.

use std::borrow::Cow;

use log::{debug, warn};

use crate::bbb::Params;
use crate::edge::Edge;
use crate::fleet::{Hints, Reservation};
use crate::model::{MOST_ATTENDEES, Tenant};

/// Takes the hints of a create, which nodes are not shown where the tenant wants that.
pub(super) fn hints(edge: &Edge, tenant: &Tenant, params: &mut Params<'_>) -> Hints {
    let max_participants = attendees(params, "maxParticipants");
    let names = spelled(params, &edge.settings.size_hint);
    let size = names.iter().find_map(|name| attendees(params, name));
    if tenant.placement.strip_hints {
        for name in &names {
            params.remove(name);
        }
    }
    Hints { max_participants, size }
}

/// A parameter's name as it was sent: nodes lower what stands behind `meta_`.
fn spelled(params: &Params<'_>, name: &str) -> Vec<String> {
    let key = |name: &str| name.strip_prefix("meta_").map(str::to_ascii_lowercase);
    let is_it = |sent: &str| sent == name || key(sent).is_some_and(|sent| key(name) == Some(sent));
    params.iter().map(|(sent, _)| sent).filter(|sent| is_it(sent)).map(Cow::into_owned).collect()
}

/// Nobody is refused because nodes are full; the operator is told.
pub(super) fn tell_if_full(edge: &Edge, reservation: &Reservation) {
    let Some((carries, built_for)) = reservation.too_much() else { return };
    edge.metrics.placements_on_full_nodes.inc();
    if let Some(left_out) = edge.metrics.full_nodes.turn() {
        let node = reservation.node().name();
        warn!(
            "the least loaded node for a new meeting, {node}, holds room for {carries:.0} attendees and is built for \
             {built_for:.0}: the pool needs more nodes, or their capacity is set too low{left_out}"
        );
    }
}

/// A number of attendees that a meeting can have. What is none, or absurd, says nothing, and refuses nothing.
fn attendees(params: &Params<'_>, name: &str) -> Option<u32> {
    let text = params.get(name)?;
    let number = text.trim().parse().ok().filter(|number| (1..=MOST_ATTENDEES).contains(number));
    if number.is_none() && text.trim() != "0" {
        debug!("{name} is passed over: it is no number of attendees from 1 to {MOST_ATTENDEES}");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_heard_in_whatever_case_nodes_would_hear_it() {
        for (query, names) in [
            ("meta_bbb-meeting-size-hint=1", &["meta_bbb-meeting-size-hint"][..]),
            (
                "meta_BBB-Meeting-Size-Hint=1&meta_bbb-meeting-size-HINT=2",
                &["meta_BBB-Meeting-Size-Hint", "meta_bbb-meeting-size-HINT"],
            ),
            ("META_bbb-meeting-size-hint=1&bbb-meeting-size-hint=1&meta_bbb=1", &[]),
        ] {
            let params = Params::parse(query.as_bytes());
            assert_eq!(spelled(&params, "meta_bbb-meeting-size-hint"), names, "{query}");
        }
    }

    #[test]
    fn only_sane_numbers_say_anything() {
        for (query, told) in [
            ("maxParticipants=30", Some(30)),
            ("maxParticipants=+7+", Some(7)),
            ("maxParticipants=0", None),
            ("maxParticipants=-5", None),
            ("maxParticipants=NaN", None),
            ("maxParticipants=1e3", None),
            ("maxParticipants=99999999999999999999", None),
            ("maxParticipants=100001", None),
            ("maxParticipants=", None),
            ("x=1", None),
        ] {
            let params = Params::parse(query.as_bytes());
            assert_eq!(attendees(&params, "maxParticipants"), told, "{query}");
        }
    }
}
