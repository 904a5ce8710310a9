//! `resize`: the size of a container's or an exec session's terminal.

use crate::Engine;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_runtime::attach::{Hello, connect, resize_frame};
use std::io::Write;
use std::path::Path;

/// Sets the terminal size of a running container.
///
/// # Errors
/// `NotFound`; `Conflict` when it does not run.
pub fn resize(engine: &Engine, who: &str, rows: u16, columns: u16) -> Result<()> {
    let record = super::find_settled(engine, who)?;
    if !record.state.status.has_process() {
        return Err(Error::conflict(format!("container {} is not running", record.id)));
    }
    send(&engine.layout().container_state(&record.id).join("attach.sock"), rows, columns)?;
    let size = [("height", rows.to_string()), ("width", columns.to_string())];
    let event = crate::events::container("resize", &record, size);
    engine.db()?.write(|txn| txn.append_event(&event, crate::events::now()))?;
    Ok(())
}

/// Sets the terminal size of a running exec session.
///
/// # Errors
/// `NotFound`; `Conflict` when it does not run.
pub fn resize_exec(engine: &Engine, exec_id: &str, rows: u16, columns: u16) -> Result<()> {
    let exec = super::exec::inspect(engine, exec_id)?;
    if !exec.running {
        return Err(Error::conflict(format!("exec session {} is not running", exec.id)));
    }
    send(&engine.layout().exec_state(&exec.id).join("attach.sock"), rows, columns)
}

fn send(socket: &Path, rows: u16, columns: u16) -> Result<()> {
    let frames = [Hello::CONTROL.encode().as_slice(), &resize_frame(rows, columns)].concat();
    let what = || "resize the terminal".to_owned();
    connect(socket)
        .context_kind(ErrorKind::Conflict, what)?
        .write_all(&frames)
        .context_kind(ErrorKind::Conflict, what)
}
