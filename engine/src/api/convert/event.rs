//! Events as Docker writes them: the new fields, and the old ones beside them.

use bollard_stubs::models as wire;
use dhow_model::event::{Event, EventType};
use serde::Serialize;

/// The generated message, and what it lacks.
#[derive(Serialize)]
pub(in crate::api) struct EventMessage<'a> {
    /// Before API 1.22 that was all; clients still read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(flatten)]
    message: wire::EventMessage,
    /// Ours: give the last one seen as `cursor` to resume without loss.
    seq: i64,
}

/// One line of the stream.
pub(in crate::api) fn show(recorded: &Event) -> EventMessage<'_> {
    let event = &recorded.event;
    let old_form = matches!(event.kind, EventType::Container | EventType::Image);
    let kind = match event.kind {
        EventType::Container => wire::EventMessageTypeEnum::CONTAINER,
        EventType::Image => wire::EventMessageTypeEnum::IMAGE,
        EventType::Volume => wire::EventMessageTypeEnum::VOLUME,
        EventType::Network => wire::EventMessageTypeEnum::NETWORK,
        EventType::Daemon => wire::EventMessageTypeEnum::DAEMON,
    };
    EventMessage {
        status: old_form.then_some(event.action.as_str()),
        id: old_form.then_some(event.actor.as_str()),
        from: event
            .attributes
            .get("image")
            .filter(|_| event.kind == EventType::Container)
            .map(String::as_str),
        message: wire::EventMessage {
            typ: Some(kind),
            action: Some(event.action.clone()),
            actor: Some(wire::EventActor {
                id: Some(event.actor.clone()),
                attributes: Some(super::unsorted(&event.attributes)),
            }),
            scope: Some(wire::EventMessageScopeEnum::LOCAL),
            time: Some(recorded.time.seconds()),
            time_nano: Some(recorded.time.0),
        },
        seq: recorded.seq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::Timestamp;
    use dhow_model::event::NewEvent;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn both_forms_are_there() {
        let event = |kind| Event {
            seq: 7,
            time: Timestamp(1_700_000_000_000_000_005),
            event: NewEvent {
                kind,
                action: "start".to_owned(),
                actor: "abc".to_owned(),
                attributes: BTreeMap::from([("image".to_owned(), "debian:12".to_owned())]),
            },
        };
        assert_eq!(
            serde_json::to_value(show(&event(EventType::Container))).unwrap(),
            json!({
                "status": "start", "id": "abc", "from": "debian:12",
                "Type": "container", "Action": "start",
                "Actor": {"ID": "abc", "Attributes": {"image": "debian:12"}},
                "scope": "local", "time": 1_700_000_000, "timeNano": 1_700_000_000_000_000_005_i64,
                "seq": 7,
            })
        );
        let volume = serde_json::to_value(show(&event(EventType::Volume))).unwrap();
        assert_eq!(volume.get("status"), None);
        assert_eq!(volume["Type"], "volume");
    }
}
