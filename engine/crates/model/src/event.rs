//! Durable events: what happened, to what, when, in which order.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What sort of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The engine itself.
    Daemon,
}

impl EventType {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Container => "container",
            EventType::Image => "image",
            EventType::Volume => "volume",
            EventType::Network => "network",
            EventType::Daemon => "daemon",
        }
    }
}

/// An event that is about to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// What sort of object.
    pub kind: EventType,
    /// Docker's word for what happened: `create`, `start`, `die`, `exec_start: ls`, …
    pub action: String,
    /// Full id of the object.
    pub actor: String,
    /// `image`, `name`, `exitCode`, labels, ….
    pub attributes: BTreeMap<String, String>,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of all events of this engine root: 1, 2, 3, …, never reused.
    pub seq: i64,
    /// When it was recorded.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: NewEvent,
}
