//! One row of `ps`.

use super::{mounts, signed};
use crate::container::list::Summary;
use bollard_stubs::models as wire;
use dhow_model::Timestamp;
use dhow_model::health::{Health, HealthStatus};
use dhow_model::state::{ContainerState, Status};
use dhow_model::units::human_duration;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// [`wire::ContainerSummary`], with its texts where they are: a thousand rows are written one at a time, and making
/// each of owned texts first takes longer than writing it. A test holds the two together.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::api) struct Row<'a> {
    id: &'a str,
    names: [String; 1],
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    command: Cow<'a, str>,
    created: i64,
    ports: Vec<wire::PortSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<i64>,
    labels: &'a BTreeMap<String, String>,
    state: &'static str,
    status: String,
    host_config: HostConfig<'a>,
    network_settings: NetworkSettings<'a>,
    mounts: Vec<wire::MountPoint>,
}

/// [`wire::ContainerSummaryHostConfig`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig<'a> {
    network_mode: Cow<'a, str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// [`wire::ContainerSummaryNetworkSettings`], by name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings<'a> {
    #[serde(serialize_with = "as_map")]
    networks: Vec<(&'a str, wire::EndpointSettings)>,
}

fn as_map<S: Serializer>(pairs: &[(&str, wire::EndpointSettings)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(name, endpoint)| (name, endpoint)))
}

/// One container's row at the time `now`.
pub(in crate::api) fn show(summary: &Summary, now: Timestamp) -> Row<'_> {
    let row = &summary.container;
    let about = &row.about;
    let mut networks: Vec<_> = super::network::endpoints_by_name(&summary.joined).collect();
    networks.sort_by_key(|(name, _)| *name);
    Row {
        id: row.id.as_str(),
        names: [format!("/{}", row.name)],
        image: &about.image,
        image_id: row.image_id.as_str(),
        command: command(&about.argv),
        created: row.created.seconds(),
        ports: super::network::summary_ports(exposed(summary), &summary.published),
        size_rw: summary.size.map(|(rw, _)| signed(rw)),
        size_root_fs: summary.size.map(|(_, all)| signed(all)),
        labels: &about.labels,
        state: row.state.shown_status(),
        status: status_text(&row.state, now),
        host_config: HostConfig { network_mode: about.network.word(), annotations: &about.annotations },
        network_settings: NetworkSettings { networks },
        // The table needs no host paths of volumes.
        mounts: mounts::mount_points(&about.mounts, &[]),
    }
}

/// Exposed ports are told while they are there: Docker's rule.
fn exposed(summary: &Summary) -> &[String] {
    let shows =
        summary.container.state.status.has_process() && !summary.joined.iter().all(|j| j.endpoint.is_none());
    if shows { &summary.container.about.exposed_ports } else { &[] }
}

/// The command line; an argument with blanks is put in quotes, as Docker does.
fn command(argv: &[String]) -> Cow<'_, str> {
    if let [] | [_] = argv {
        return argv.first().map(String::as_str).unwrap_or_default().into();
    }
    let mut text = argv[0].clone();
    for argument in argv.iter().skip(1) {
        text.push(' ');
        if argument.contains(' ') {
            text.push('\'');
            text.push_str(argument);
            text.push('\'');
        } else {
            text.push_str(argument);
        }
    }
    text.into()
}

/// `Up 2 minutes`, `Exited (0) 3 seconds ago`, `Created`.
pub(in crate::api) fn status_text(state: &ContainerState, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| human_duration(now.since(time.unwrap_or(now)));
    let code = state.exit_code;
    match state.status {
        Status::Running => match state.life.health {
            None => format!("Up {}", since(state.started_at)),
            Some(Health { status: HealthStatus::Starting, .. }) => {
                format!("Up {} (health: starting)", since(state.started_at))
            }
            Some(health) => format!("Up {} ({})", since(state.started_at), health.status),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({code}) {} ago", since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        _ if state.started_at.is_none() => "Created".to_owned(),
        // A second start is under way: what users see is still the last run.
        Status::Created | Status::Starting | Status::Exited => {
            format!("Exited ({code}) {} ago", since(state.finished_at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_the_schema_says() {
        use dhow_model::network::EndpointConfig;
        use dhow_store::db::{About, ContainerSummary};
        let pairs = || BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let joined = ["y", "x"].map(|name| crate::network::Joined {
            name: name.to_owned(),
            container: "web".to_owned(),
            wanted: EndpointConfig::plain(name),
            network: None,
            endpoint: None,
        });
        let summary = Summary {
            container: ContainerSummary {
                id: dhow_model::ContainerId::from_random([1; 32]),
                name: "web".to_owned(),
                created: Timestamp::from_seconds(7),
                image_id: dhow_model::Digest::from_sha256([2; 32]),
                about: About {
                    image: "debian:12".to_owned(),
                    argv: ["sh", "-c", "echo a b"].map(str::to_owned).to_vec(),
                    labels: pairs(),
                    mounts: Vec::new(),
                    network: dhow_model::container::NetworkMode::Network("y".to_owned()),
                    endpoints: Vec::new(),
                    exposed_ports: Vec::new(),
                    annotations: pairs(),
                },
                state: ContainerState::default(),
            },
            size: Some((1, 2)),
            joined: joined.to_vec(),
            published: Vec::new(),
        };
        let text = serde_json::to_string(&show(&summary, Timestamp::from_seconds(9))).unwrap();
        let wire: wire::ContainerSummary = serde_json::from_str(&text).unwrap();
        assert_eq!(
            serde_json::to_value(&wire).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
        assert_eq!(wire.command.as_deref(), Some("sh -c 'echo a b'"));
        for sorted in
            [r#""Labels":{"a":"1","b":"2"}"#, r#""Annotations":{"a":"1","b":"2"}"#, r#""Networks":{"x":{"#]
        {
            assert!(text.contains(sorted), "{sorted}: {text}");
        }
    }

    #[test]
    fn texts_are_dockers() {
        let now = Timestamp::from_seconds(1_000_000);
        let ago = |seconds: i64| Some(Timestamp::from_seconds(1_000_000 - seconds));
        let state = |status, code, started, finished| ContainerState {
            status,
            exit_code: code,
            started_at: started,
            finished_at: finished,
            ..ContainerState::default()
        };
        for (state, text) in [
            (state(Status::Created, 0, None, None), "Created"),
            (state(Status::Starting, 0, None, None), "Created"),
            (state(Status::Exited, 127, None, None), "Created"),
            (state(Status::Running, 0, ago(120), None), "Up 2 minutes"),
            (state(Status::Running, 0, ago(0), ago(9)), "Up Less than a second"),
            (state(Status::Paused, 0, ago(3600), None), "Up About an hour (Paused)"),
            (state(Status::Exited, 0, ago(10), ago(3)), "Exited (0) 3 seconds ago"),
            (state(Status::Exited, 137, ago(200_000), ago(180_000)), "Exited (137) 2 days ago"),
            (state(Status::Restarting, 1, ago(10), ago(1)), "Restarting (1) 1 second ago"),
            (state(Status::Removing, 0, ago(1), None), "Removal In Progress"),
            (state(Status::Dead, 0, ago(1), ago(1)), "Dead"),
        ] {
            assert_eq!(status_text(&state, now), text);
        }
    }
}
