//! What a benchmark found, for people and for programs.

use super::statistics::{Summary, summarise};
use super::{Absent, Contender};
use crate::Result;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// One contender and its samples.
pub(super) struct Measured {
    pub(super) contender: Contender,
    pub(super) samples: Vec<Duration>,
}

/// One line of the JSON file.
#[derive(Serialize)]
struct Line<'m> {
    #[serde(flatten)]
    contender: &'m Contender,
    #[serde(flatten)]
    milliseconds: Summary,
    ratio_to_floor: Option<f64>,
    ratio_to_crun: Option<f64>,
    samples: Vec<f64>,
}

/// The table, in the order of the medians.
pub(super) fn markdown(measured: &[Measured], absent: &[Absent]) -> String {
    let mut text = String::from(
        "| whole command | version | median ms | p90 ms | least ms | × floor | × crun |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for line in lines(measured) {
        let Summary { minimum, median, p90 } = line.milliseconds;
        let ratio = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.2}"));
        let Contender { name, version, .. } = line.contender;
        let (floor, crun) = (ratio(line.ratio_to_floor), ratio(line.ratio_to_crun));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {version} | {median:.2} | {p90:.2} | {minimum:.2} | {floor} | {crun} |"
        );
    }
    for Absent { name, reason } in absent {
        let _ = writeln!(text, "\nnot measured: {name}: {reason}");
    }
    text
}

/// The same with every sample.
pub(super) fn save_json(measured: &[Measured], path: &Path) -> Result {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(&lines(measured))?;
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(())
}

/// The ratio of two contenders' medians.
pub(super) fn ratio(measured: &[Measured], of: &str, to: &str) -> Option<f64> {
    Some(median(measured, of)? / median(measured, to)?)
}

/// In milliseconds.
pub(super) fn median(measured: &[Measured], name: &str) -> Option<f64> {
    let found = measured.iter().find(|m| m.contender.name == name)?;
    Some(summarise(&found.samples)?.median)
}

fn lines(measured: &[Measured]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = measured
        .iter()
        .filter_map(|m| {
            Some(Line {
                contender: &m.contender,
                milliseconds: summarise(&m.samples)?,
                ratio_to_floor: ratio(measured, &m.contender.name, "floor"),
                ratio_to_crun: ratio(measured, &m.contender.name, "crun run"),
                samples: m.samples.iter().map(|s| s.as_secs_f64() * 1e3).collect(),
            })
        })
        .collect();
    lines.sort_by(|a, b| a.milliseconds.median.total_cmp(&b.milliseconds.median));
    lines
}
