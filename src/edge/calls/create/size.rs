//! What a front end says of the size of its meeting.

use log::debug;

use crate::bbb::Params;
use crate::edge::Edge;
use crate::fleet::Hints;
use crate::model::{MOST_ATTENDEES, Tenant};

/// Takes the hints of a create, which nodes are not shown where the tenant wants that.
pub(super) fn hints(edge: &Edge, tenant: &Tenant, params: &mut Params<'_>) -> Hints {
    let name = edge.settings.size_hint.as_str();
    let hints = Hints {
        max_participants: attendees(params, "maxParticipants"),
        size: attendees(params, name),
    };
    if tenant.placement.strip_hints {
        params.remove(name);
    }
    hints
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
