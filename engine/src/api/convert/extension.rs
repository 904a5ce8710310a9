//! `Dhow` in a container's `inspect`: what Docker has no field for.
//!
//! | field | |
//! |---|---|
//! | `FirstOutputAt` | when the present or last run first wrote something; absent until then. That of a run that goes on is recorded once it has been quiet for a second |
//! | `EndedBy` | whose hand ended the last run: `itself`, `stop`, `restart`, `kill`, `remove`, `health`, `out-of-memory`, `signal` (one that no verb sent), `monitor-lost`, `start-failed`; absent before the first end |
//! | `EndSignal` | the signal that its first process died of, by name; absent when it exited |
//! | `EndAskedAt` | when a verb or a health check asked for the end |
//! | `IdMap` | with a user namespace: which user and group of the host its root is, and how many ids it has |
//! | `LogLost` | log entries that were lost since a user last started it: a daemon was gone, or slow in non-blocking mode |

use dhow_model::Timestamp;
use dhow_model::signal::Signal;
use dhow_store::db::ContainerRecord;
use serde::Serialize;

/// See the module.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Extension {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_output_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_asked_at: Option<String>,
    log_lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_map: Option<IdMap>,
}

/// `IdMap`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IdMap {
    first_uid: u32,
    first_gid: u32,
    count: u32,
}

/// That of one container.
pub(super) fn of(record: &ContainerRecord) -> Extension {
    let life = &record.state.life;
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let ended = life.ended;
    Extension {
        first_output_at: text(life.first_output_at),
        ended_by: ended.map(|ended| ended.by.as_str()),
        end_signal: ended.and_then(|ended| ended.signal).map(signal_name),
        end_asked_at: text(ended.and_then(|ended| ended.asked_at)),
        log_lost: life.log_lost,
        id_map: record.config.host.security.ids.map(|ids| IdMap {
            first_uid: ids.first_uid,
            first_gid: ids.first_gid,
            count: ids.count,
        }),
    }
}

fn signal_name(number: i32) -> String {
    Signal::parse(&number.to_string()).map_or_else(|_| number.to_string(), |signal| signal.to_string())
}
