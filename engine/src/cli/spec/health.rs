//! `--health-*`, as Docker's client reads them, and our own `--restart-unhealthy`.

use super::SpecArgs;
use crate::cli::exit::{Failure, Outcome};
use bollard::models::HealthConfig;
use dhow_model::container::RESTART_UNHEALTHY;
use dhow_model::units;

/// A Go duration as nanoseconds; what is negative is refused later, with its flag's name.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let time = units::parse_duration(rest).map_err(|error| error.to_string())?;
    i64::try_from(time.as_nanos()).map(|n| sign * n).map_err(|_| format!("time: invalid duration {text:?}"))
}

/// `None` when nothing was said: then the image's check holds.
pub(super) fn config(args: &SpecArgs) -> Outcome<Option<HealthConfig>> {
    let times = [
        ("interval", args.health_interval),
        ("timeout", args.health_timeout),
        ("retries", args.health_retries),
        ("start-period", args.health_start_period),
        ("start-interval", args.health_start_interval),
    ];
    let command = args.health_cmd.as_deref().filter(|command| !command.is_empty());
    let said = command.is_some() || times.iter().any(|(_, value)| value.is_some_and(|n| n != 0));
    if args.no_healthcheck {
        if said {
            return Err(Failure::usage("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }));
    }
    if !said {
        return Ok(None);
    }
    if let Some((name, _)) = times.iter().find(|(_, value)| value.is_some_and(|n| n < 0)) {
        return Err(Failure::usage(format!("--health-{name} cannot be negative")));
    }
    Ok(Some(HealthConfig {
        test: command.map(|command| vec!["CMD-SHELL".to_owned(), command.to_owned()]),
        interval: args.health_interval,
        timeout: args.health_timeout,
        retries: args.health_retries,
        start_period: args.health_start_period,
        start_interval: args.health_start_interval,
    }))
}

/// `--restart-unhealthy` travels as an annotation, which Docker's own client can set too.
pub(super) fn annotation(args: &SpecArgs) -> Option<(String, String)> {
    args.restart_unhealthy.then(|| (RESTART_UNHEALTHY.to_owned(), "true".to_owned()))
}
