//! One row of `ps`.

use super::{mounts, signed, unsorted};
use crate::container::list::Summary;
use bollard_stubs::models as wire;
use dhow_model::Timestamp;
use dhow_model::health::{Health, HealthStatus};
use dhow_model::state::{ContainerState, Status};
use dhow_model::units::human_duration;

/// One container's row at the time `now`.
pub(in crate::api) fn show(summary: &Summary, now: Timestamp) -> wire::ContainerSummary {
    let row = &summary.container;
    let about = &row.about;
    let mode = &about.network;
    wire::ContainerSummary {
        id: Some(row.id.to_string()),
        names: Some(vec![format!("/{}", row.name)]),
        image: Some(about.image.clone()),
        image_id: Some(row.image_id.to_string()),
        command: Some(command(&about.argv)),
        created: Some(row.created.seconds()),
        ports: Some(super::network::summary_ports(exposed(summary), &summary.published)),
        size_rw: summary.size.map(|(rw, _)| signed(rw)),
        size_root_fs: summary.size.map(|(_, all)| signed(all)),
        labels: Some(unsorted(&about.labels)),
        state: row.state.shown_status().parse().ok(),
        status: Some(status_text(&row.state, now)),
        host_config: Some(wire::ContainerSummaryHostConfig {
            network_mode: Some(mode.word().into_owned()),
            annotations: (!about.annotations.is_empty()).then(|| unsorted(&about.annotations)),
        }),
        network_settings: Some(wire::ContainerSummaryNetworkSettings {
            networks: Some(super::network::show_endpoints(&summary.joined)),
        }),
        // The table needs no host paths of volumes.
        mounts: Some(mounts::mount_points(&about.mounts, &[])),
        ..wire::ContainerSummary::default()
    }
}

/// Exposed ports are told while they are there: Docker's rule.
fn exposed(summary: &Summary) -> &[String] {
    let shows =
        summary.container.state.status.has_process() && !summary.joined.iter().all(|j| j.endpoint.is_none());
    if shows { &summary.container.about.exposed_ports } else { &[] }
}

/// The command line; an argument with blanks is put in quotes, as Docker does.
fn command(argv: &[String]) -> String {
    let mut text = argv.first().cloned().unwrap_or_default();
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
    text
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
