//! `--trace-startup`: where the time of a start went, from the command to the program.
//!
//! The command line keeps its own phases, and asks the engine for those of the verb, of the monitor and of the
//! new process. All have one clock when all run on one machine; with an engine elsewhere only its own are shown.

use crate::cli::client::{Client, Route, collect, empty, wire};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use dhow_runtime::timeline::{Actor, EXEC, Phase, boot_id, now, processor_time};
use http::Method;
use serde::Deserialize;
use std::fmt::Write;
use std::sync::OnceLock;

/// Steps of the new process that take less are counted, not listed.
const SHORT_NS: u64 = 50_000;

/// When this process reached `main`, and how long it had run for by then: loading and linking.
static BEGAN: OnceLock<(u64, u64)> = OnceLock::new();

/// Notes the beginning. To be called first of all.
pub(crate) fn note_beginning() {
    BEGAN.get_or_init(|| (now(), processor_time()));
}

/// What the engine answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineTimeline {
    boot_id: String,
    phases: Vec<Phase>,
}

/// The phases of a start so far.
#[derive(Debug)]
pub(crate) struct Startup {
    last: u64,
    phases: Vec<Phase>,
    foreign: bool,
}

impl Startup {
    /// From the command on; `None` when nobody asked.
    pub(crate) fn asked(wanted: bool) -> Option<Self> {
        let (began, loading) = *BEGAN.get_or_init(|| (now(), 0));
        let mut startup = Self { last: began.saturating_sub(loading), phases: Vec::new(), foreign: false };
        startup.add("load and link (processor time)", began);
        wanted.then_some(startup)
    }

    fn add(&mut self, work: &str, ended: u64) {
        let phase = Phase { actor: Actor::Client, work: work.to_owned(), began: self.last, ended };
        self.phases.push(phase);
        self.last = ended;
    }

    /// Says that what was done since the last mark is `work`.
    pub(crate) fn mark(this: &mut Option<Self>, work: &str) {
        if let Some(startup) = this {
            startup.add(work, now());
        }
    }

    /// Starts a container and takes the engine's phases.
    pub(crate) async fn start(&mut self, client: &Client, id: &str) -> Outcome<()> {
        let route = Route::of("/containers/", id, "/start").with("timeline", "1");
        let answer = collect(client.send(Method::POST, route.as_str(), empty()).await?).await?;
        if answer.is_empty() {
            return Err(Failure::new("the container was started, but this engine keeps no timeline"));
        }
        let timeline: EngineTimeline = serde_json::from_slice(&answer).map_err(wire)?;
        self.foreign = timeline.boot_id != boot_id().unwrap_or_default();
        if self.foreign {
            self.phases.clear();
        }
        self.phases.extend(timeline.phases);
        if !self.foreign {
            self.add("ask for the start", now());
        }
        Ok(())
    }

    /// Writes the table to standard error.
    pub(crate) fn show(self) {
        output::warn_line(self.table().trim_end());
    }

    fn table(mut self) -> String {
        self.phases.sort_by_key(|phase| (phase.began, std::cmp::Reverse(phase.ended)));
        let began = self.phases.first().map_or(0, |phase| phase.began);
        let ran = self.phases.iter().filter(|phase| phase.work == EXEC).map(|phase| phase.ended).next_back();
        let from = if self.foreign { "the request (the engine's clock is not ours)" } else { "the command" };
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = match ran {
            Some(ran) => {
                writeln!(text, "startup: {} ms from {from} to the program", milliseconds(ran - began))
            }
            None => writeln!(text, "startup: the program was not reached"),
        };
        let _ = writeln!(text, "{:>9} {:>9}  {:<9}  WHAT", "AT MS", "TOOK MS", "WHO");
        let mut row = |at: u64, took: u64, actor: Actor, what: &str| {
            let who = match actor {
                Actor::Client => "command",
                Actor::Engine => "engine",
                Actor::Monitor => "monitor",
                Actor::Container => "container",
            };
            let _ =
                writeln!(text, "{:>9} {:>9}  {who:<9}  {what}", milliseconds(at - began), milliseconds(took));
        };
        let mut phases = self.phases.iter().peekable();
        while let Some(phase) = phases.next() {
            let short = |phase: &Phase| {
                phase.actor == Actor::Container && phase.work != EXEC && phase.ended - phase.began < SHORT_NS
            };
            if !short(phase) {
                row(phase.began, phase.ended.saturating_sub(phase.began), phase.actor, &phase.work);
                continue;
            }
            let (mut count, mut last) = (1, phase);
            while let Some(next) = phases.next_if(|next| short(next)) {
                (count, last) = (count + 1, next);
            }
            let what = if count == 1 { phase.work.clone() } else { format!("{count} short steps") };
            row(phase.began, last.ended - phase.began, Actor::Container, &what);
        }
        text
    }
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_steps_are_folded() {
        let phase = |actor, work: &str, began: u64, ended: u64| Phase {
            actor,
            work: work.to_owned(),
            began: began * 1000,
            ended: ended * 1000,
        };
        let startup = Startup {
            last: 0,
            foreign: false,
            phases: vec![
                phase(Actor::Container, "pivot", 3010, 3020),
                phase(Actor::Client, "load", 1000, 2500),
                phase(Actor::Container, "mount", 3020, 3060),
                phase(Actor::Container, "slow", 3060, 4000),
                phase(Actor::Container, EXEC, 4000, 5200),
                phase(Actor::Monitor, "clone", 2500, 3010),
            ],
        };
        let expected = [
            "startup: 4.200 ms from the command to the program",
            "    AT MS   TOOK MS  WHO        WHAT",
            "    0.000     1.500  command    load",
            "    1.500     0.510  monitor    clone",
            "    2.010     0.050  container  2 short steps",
            "    2.060     0.940  container  slow",
            "    3.000     1.200  container  exec",
        ];
        assert_eq!(startup.table().lines().collect::<Vec<_>>(), expected);
    }
}
