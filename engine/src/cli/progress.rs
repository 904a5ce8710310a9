//! How a pull or a push goes: a line for each layer that changes in place on a terminal, else a line for each step.

use crate::cli::client::wire;
use crate::cli::exit::{Failure, Outcome};
use bytes::BytesMut;
use dhow_model::units;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Instant;

/// One message of the engine.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<Detail>,
    #[serde(rename = "progressDetail", default)]
    progress: Progress,
}

#[derive(Debug, Deserialize)]
struct Detail {
    message: Option<String>,
}

#[derive(Debug, Deserialize, Default)]
struct Progress {
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
}

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Stdout,
    Stderr,
    Nothing,
}

/// Shows the engine's messages until they end; an error among them is the failure.
pub(crate) async fn follow(answer: Response<Incoming>, show: Show) -> Outcome<()> {
    let mut display = Display::new(show);
    let mut body = answer.into_body();
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(wire)?.into_data() else { continue };
        pending.extend_from_slice(&data);
        let mut values = serde_json::Deserializer::from_slice(&pending).into_iter::<Message>();
        let mut used = 0;
        while let Some(message) = values.next() {
            match message {
                Ok(message) => display.take(message)?,
                Err(error) if error.is_eof() => break,
                Err(error) => {
                    return Err(Failure::new(format!("unexpected message of the engine: {error}")));
                }
            }
            used = values.byte_offset();
        }
        drop(values);
        let _ = pending.split_to(used);
    }
    Ok(())
}

struct Display {
    show: Show,
    /// On a terminal lines change in place.
    in_place: bool,
    /// The line of each layer, counted from the first.
    lines: HashMap<String, usize>,
    /// What each layer's line last said, where lines do not change.
    said: HashMap<String, String>,
    /// When a layer's bytes began to move, and how many there were then.
    begun: HashMap<String, (Instant, u64)>,
}

impl Display {
    fn new(show: Show) -> Self {
        let in_place = match show {
            Show::Stdout => std::io::IsTerminal::is_terminal(&std::io::stdout()),
            Show::Stderr => std::io::IsTerminal::is_terminal(&std::io::stderr()),
            Show::Nothing => false,
        };
        Self { show, in_place, lines: HashMap::new(), said: HashMap::new(), begun: HashMap::new() }
    }

    fn take(&mut self, message: Message) -> Outcome<()> {
        if let Some(text) = message.error_detail.and_then(|d| d.message).or(message.error) {
            return Err(Failure::new(text));
        }
        let moving = (message.progress.total > 0).then_some(message.progress);
        let text = if self.in_place {
            self.in_place(&message.id, &message.status, moving)
        } else {
            self.line(&message.id, &message.status, moving.is_some())
        };
        self.print(&text)
    }

    /// A line for each step; what moves is not told.
    fn line(&mut self, id: &str, status: &str, moving: bool) -> String {
        if moving || status.is_empty() {
            return String::new();
        }
        if id.is_empty() {
            return format!("{status}\n");
        }
        if self.said.insert(id.to_owned(), status.to_owned()).as_deref() == Some(status) {
            return String::new();
        }
        format!("{id}: {status}\n")
    }

    fn in_place(&mut self, id: &str, status: &str, moving: Option<Progress>) -> String {
        if status.is_empty() {
            return String::new();
        }
        if id.is_empty() || status.starts_with("Pulling from") {
            // Text that stays: what comes next is below it.
            self.lines.clear();
            return if id.is_empty() { format!("{status}\n") } else { format!("{id}: {status}\n") };
        }
        let mut text = String::new();
        let count = self.lines.len();
        let at = *self.lines.entry(id.to_owned()).or_insert(count);
        let up = self.lines.len() - at;
        // A new line is written where the cursor is.
        let is_new = at == count;
        // Writing to a string cannot fail.
        if !is_new {
            let _ = write!(text, "\x1b[{up}A\r\x1b[2K");
        }
        let _ = write!(text, "{id}: {status}");
        if let Some(Progress { current, total }) = moving {
            let (since, from) = *self.begun.entry(id.to_owned()).or_insert_with(|| (Instant::now(), current));
            let _ = write!(text, " {}/{}", units::human_size(current), units::human_size(total));
            let seconds = since.elapsed().as_secs();
            if let Some(speed) = current.saturating_sub(from).checked_div(seconds) {
                let _ = write!(text, " {}/s", units::human_size(speed));
            }
        } else {
            self.begun.remove(id);
        }
        if is_new {
            text.push('\n');
        } else {
            let _ = write!(text, "\r\x1b[{up}B");
        }
        text
    }

    fn print(&self, text: &str) -> Outcome<()> {
        if text.is_empty() {
            return Ok(());
        }
        match self.show {
            Show::Nothing => Ok(()),
            Show::Stdout => crate::cli::output::print_raw(text),
            Show::Stderr => {
                // Nothing depends on it.
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(in_place: bool) -> Display {
        let mut display = Display::new(Show::Nothing);
        display.in_place = in_place;
        display
    }

    #[test]
    fn steps_are_told_once() {
        let mut plain = display(false);
        assert_eq!(plain.line("latest", "Pulling from library/x", false), "latest: Pulling from library/x\n");
        assert_eq!(plain.line("a", "Pulling fs layer", false), "a: Pulling fs layer\n");
        assert_eq!(plain.line("a", "Downloading", true), "");
        assert_eq!(plain.line("a", "Pulling fs layer", false), "");
        assert_eq!(plain.line("", "Status: done", false), "Status: done\n");
    }

    #[test]
    fn a_terminals_lines_change_in_place() {
        let mut terminal = display(true);
        assert_eq!(terminal.in_place("a", "Waiting", None), "a: Waiting\n");
        assert_eq!(terminal.in_place("b", "Waiting", None), "b: Waiting\n");
        assert_eq!(terminal.in_place("a", "Done", None), "\x1b[2A\r\x1b[2Ka: Done\r\x1b[2B");
        let moving = Some(Progress { current: 1_000_000, total: 2_000_000 });
        assert_eq!(
            terminal.in_place("b", "Downloading", moving),
            "\x1b[1A\r\x1b[2Kb: Downloading 1MB/2MB\r\x1b[1B"
        );
        assert_eq!(terminal.in_place("", "Status: x", None), "Status: x\n");
    }

    #[test]
    fn an_error_is_the_failure() {
        let message =
            serde_json::from_str(r#"{"errorDetail":{"message":"broken"},"error":"broken"}"#).unwrap();
        assert_eq!(display(false).take(message).unwrap_err().message, "broken");
    }
}
