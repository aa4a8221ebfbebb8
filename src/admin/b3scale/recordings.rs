//! Recordings. Nodes keep and serve them here, so there is nothing to import, and nothing is moved.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::api::gather::Found;
use super::super::api::problem::Problem;
use super::body::Fields;
use super::meetings::encoded;
use super::{Annex, Answer, NEVER, Right, Visitor, filter, id_of, not_found, ok, wrong};
use crate::admin::api::edits;
use crate::bbb::{Call, Element, Params};
use crate::fleet::now_ms;
use crate::model::{Change, Kind, MeetingKey, ObjectName};

/// A visibility: whether it is published, listed in galleries, and protected.
const VISIBILITIES: [(&str, [bool; 3]); 5] = [
    ("unpublished", [false, false, false]),
    ("published", [true, false, false]),
    ("protected", [true, false, true]),
    ("public", [true, true, false]),
    ("public_protected", [true, true, true]),
];
/// Longer ones are none.
const MAX_ID_BYTES: usize = 256;

/// What b3scale's serializer leaves on every level.
fn xml_name() -> Value {
    json!({"Space": "", "Local": ""})
}

fn text(of: &Element, name: &str) -> String {
    of.child_text(name).unwrap_or_default().trim().to_owned()
}

fn number(of: &Element, name: &str) -> u64 {
    text(of, name).parse().unwrap_or_default()
}

fn view(found: &Found) -> Value {
    let Found { key, recording, .. } = found;
    let tenant = ObjectName::new(Kind::Tenant, key.scope.tenant.as_str());
    json!({
        "record_id": found.id(),
        "recording": data(found, recording),
        "meeting_id": encoded(key),
        "internal_meeting_id": text(recording, "internalMeetingID"),
        "frontend_id": id_of(&tenant),
        "created_at": NEVER,
        "updated_at": NEVER,
        "synced_at": NEVER,
    })
}

fn data(found: &Found, recording: &Element) -> Value {
    let metadata: Map<String, Value> = recording.child("metadata").map_or_else(Map::new, |all| {
        all.elements().map(|one| (one.name.clone(), one.text().into())).collect()
    });
    let formats = recording
        .child("playback")
        .map_or_else(Vec::new, |playback| playback.children_named("format").map(format).collect());
    json!({
        "XMLName": xml_name(),
        "RecordID": found.id(),
        "MeetingID": found.key.id,
        "InternalMeetingID": text(recording, "internalMeetingID"),
        "Name": text(recording, "name"),
        "IsBreakout": text(recording, "isBreakout") == "true",
        "Published": text(recording, "published") == "true",
        "State": text(recording, "state"),
        "StartTime": number(recording, "startTime"),
        "EndTime": number(recording, "endTime"),
        "Participants": number(recording, "participants"),
        "Metadata": metadata,
        "Formats": formats,
    })
}

fn format(format: &Element) -> Value {
    let images = format.child("preview").and_then(|preview| preview.child("images"));
    let preview = images.map(|images| {
        let all: Vec<_> = images
            .children_named("image")
            .map(|image| {
                let attribute = |name: &str| image.attribute(name).unwrap_or_default();
                json!({
                    "XMLName": xml_name(),
                    "Alt": attribute("alt"),
                    "Height": attribute("height").parse::<u64>().unwrap_or_default(),
                    "Width": attribute("width").parse::<u64>().unwrap_or_default(),
                    "URL": image.text().trim(),
                })
            })
            .collect();
        json!({"XMLName": xml_name(), "Images": {"XMLName": xml_name(), "All": all}})
    });
    json!({
        "XMLName": xml_name(),
        "Type": text(format, "type"),
        "URL": text(format, "url"),
        "ProcessingTime": number(format, "processingTime"),
        "Length": number(format, "length"),
        "Preview": preview,
    })
}

impl Annex {
    pub(super) async fn list_recordings(
        &self,
        visitor: &Visitor,
        query: &HashMap<String, String>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let (id, key) = (filter(query, "frontend_id"), filter(query, "frontend_key"));
        if id.is_none() && key.is_none() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "Bad Request"));
        }
        let snapshot = self.desk.fleet.snapshot();
        let tenant = snapshot.tenants().find(|entry| {
            let slug = entry.tenant.slug.as_str();
            match id {
                Some(id) => id_of(&ObjectName::new(Kind::Tenant, slug)) == id,
                None => key == Some(slug),
            }
        });
        let tenant = tenant.ok_or_else(not_found)?;
        let slug = &tenant.tenant.slug;
        let is_its = |key: &MeetingKey, _: &Element| key.scope.tenant == *slug;
        let found = self.desk.recordings(&tenant.nodes, &Params::default(), &is_its).await?;
        let mut seen = HashSet::new();
        let once = found.iter().filter(|one| seen.insert(one.id()));
        Ok(ok(once.map(view).collect()))
    }

    /// Where a recording is, on every node that has it.
    async fn find_recording(&self, id: &str) -> Result<Vec<Found>, Problem> {
        if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains(',') {
            return Ok(Vec::new());
        }
        let mut params = Params::default();
        params.push("recordID", id);
        let nodes: Vec<_> = self.desk.fleet.snapshot().nodes().cloned().collect();
        // Nodes match by beginnings.
        let is_it = |_: &MeetingKey, recording: &Element| {
            recording.child_text("recordID").is_some_and(|own| own.trim() == id)
        };
        self.desk.recordings(&nodes, &params, &is_it).await
    }

    pub(super) async fn get_recording(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin])?;
        let found = self.find_recording(id).await?;
        Ok(ok(view(found.first().ok_or_else(not_found)?)))
    }

    /// Publishes a recording or takes that back, and labels it, where it is.
    pub(super) async fn set_visibility(
        &self,
        visitor: &Visitor,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        let id = fields.text("record_id")?.value().unwrap_or_default();
        let name = fields.text("visibility")?.value().unwrap_or_default();
        let known = VISIBILITIES.into_iter().find(|(known, _)| *known == name);
        let Some((_, [is_published, is_listed, is_protected])) = known else {
            let names = VISIBILITIES.map(|(name, _)| name).join(", ");
            return Err(wrong("visibility", format!("is none of {names}")));
        };
        let found = self.find_recording(id).await?;
        let Some(first) = found.first() else {
            // b3scale's word for a recording that it does not know.
            return Err(Problem::new(StatusCode::BAD_REQUEST, "Bad Request"));
        };
        let object = format!("recording {}", first.id());
        let mut publish = Params::default();
        publish.push("recordID", id);
        publish.push("publish", if is_published { "true" } else { "false" });
        let mut label = Params::default();
        label.push("recordID", id);
        let flags = [("meta_gl-listed", is_listed), ("protect", is_protected)];
        for (name, flag) in flags {
            label.push(name, if flag { "true" } else { "false" });
        }
        for one in &found {
            // What is to be hidden is hidden first.
            let mut steps = [(Call::PublishRecordings, &publish), (Call::UpdateRecordings, &label)];
            if is_published {
                steps.reverse();
            }
            for (call, params) in steps {
                self.desk.change_recording(one, call, params).await?;
            }
        }
        let change = Change {
            at_ms: now_ms(),
            who: visitor.who.name.clone(),
            action: "visibility".to_owned(),
            object,
            before: None,
            after: Some(json!({"visibility": name}).to_string()),
        };
        edits::keep(&self.desk, &visitor.who, change).await;
        self.get_recording(visitor, id).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_visibility_is_another() {
        let all: BTreeMap<_, _> = VISIBILITIES.iter().map(|(name, flags)| (flags, name)).collect();
        assert_eq!(all.len(), VISIBILITIES.len());
    }
}
