//! Exec sessions: the body that makes one, and what `GET /exec/ID/json` tells.

use super::unsupported;
use bollard_stubs::models as wire;
use dhow_model::{Error, Result, members};
use dhow_store::db::{ExecConfig, ExecRecord};
use serde::Serialize;
use serde_json::{Value, json};

/// Rows and columns, from the wire's list of two; zeroes mean that the client does not know.
pub(in crate::api) fn console_size(list: Option<&Vec<usize>>) -> Result<Option<(u16, u16)>> {
    let Some(list) = list.filter(|l| !l.is_empty()) else { return Ok(None) };
    let fits = |n: usize| u16::try_from(n).ok();
    match list[..] {
        [0, 0] => Ok(None),
        [rows, columns] => match (fits(rows), fits(columns)) {
            (Some(rows), Some(columns)) => Ok(Some((rows, columns))),
            _ => Err(Error::invalid(format!("invalid console size {list:?}"))),
        },
        _ => Err(Error::invalid(format!("invalid console size {list:?}: want rows and columns"))),
    }
}

/// Validates a request for an exec session.
pub(in crate::api) fn parse(mut body: Value) -> Result<ExecConfig> {
    members::rename::<wire::ExecConfig>(&mut body);
    if let Some(word @ Value::String(_)) = body.get_mut("Cmd") {
        *word = json!([word.take()]);
    }
    let body: wire::ExecConfig =
        members::from_value(body).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))?;
    let argv = body.cmd.unwrap_or_default();
    if argv.is_empty() {
        return Err(Error::invalid("no exec command specified"));
    }
    let env = body.env.unwrap_or_default();
    for entry in &env {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    let working_dir = body.working_dir.unwrap_or_default();
    let user = body.user.unwrap_or_default();
    for text in argv.iter().chain(&env).chain([&working_dir, &user]) {
        if text.contains('\0') {
            return Err(Error::invalid(format!("invalid argument {text:?}: contains a NUL byte")));
        }
    }
    if !working_dir.is_empty() && !working_dir.starts_with('/') {
        return unsupported(format!("a relative working directory ({working_dir:?}) for exec"));
    }
    Ok(ExecConfig {
        argv,
        // `NAME` alone, which for a container removes the image's, means nothing here.
        env: env.into_iter().filter(|entry| entry.contains('=')).collect(),
        user,
        working_dir,
        tty: body.tty.unwrap_or(false),
        attach_stdin: body.attach_stdin.unwrap_or(false),
        attach_stdout: body.attach_stdout.unwrap_or(false),
        attach_stderr: body.attach_stderr.unwrap_or(false),
        privileged: body.privileged.unwrap_or(false),
        detach_keys: body.detach_keys.unwrap_or_default(),
    })
}

/// The generated answer, with the exit code as Docker has it: `null`, not absent, while there is none.
#[derive(Serialize)]
pub(in crate::api) struct ExecInspect {
    #[serde(flatten)]
    known: wire::ExecInspectResponse,
    #[serde(rename = "ExitCode")]
    exit_code: Option<i32>,
}

/// What is known of a session.
pub(in crate::api) fn show(exec: &ExecRecord) -> ExecInspect {
    let config = &exec.config;
    let mut argv = config.argv.iter().cloned();
    ExecInspect {
        known: wire::ExecInspectResponse {
            can_remove: Some(false),
            detach_keys: Some(config.detach_keys.clone()),
            id: Some(exec.id.to_string()),
            running: Some(exec.running),
            exit_code: None,
            process_config: Some(wire::ProcessConfig {
                privileged: Some(config.privileged),
                user: Some(config.user.clone()),
                tty: Some(config.tty),
                entrypoint: argv.next(),
                arguments: Some(argv.collect()),
            }),
            open_stdin: Some(config.attach_stdin),
            open_stderr: Some(config.attach_stderr),
            open_stdout: Some(config.attach_stdout),
            container_id: Some(exec.container.to_string()),
            pid: Some(i64::from(exec.pid)),
        },
        exit_code: exec.exit_code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(console_size(None).unwrap(), None);
        assert_eq!(console_size(Some(&vec![0, 0])).unwrap(), None);
        assert_eq!(console_size(Some(&vec![24, 80])).unwrap(), Some((24, 80)));
        assert!(console_size(Some(&vec![24])).is_err());
        assert!(console_size(Some(&vec![70_000, 80])).is_err());
    }

    #[test]
    fn requests() {
        let config = parse(json!({"Cmd": "ls", "Tty": true, "Env": ["A=1", "B"]})).unwrap();
        assert_eq!(config.argv, ["ls"]);
        assert_eq!(config.env, ["A=1"]);
        assert!(config.tty && !config.attach_stdin);
        for bad in [
            json!({}),
            json!({"Cmd": []}),
            json!({"Cmd": ["a\0"]}),
            json!({"Cmd": ["a"], "Env": ["=x"]}),
            json!({"Cmd": ["a"], "WorkingDir": "x"}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
