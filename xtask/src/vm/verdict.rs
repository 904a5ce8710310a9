//! What the machine's lines amount to. Trusts nothing that was not said.

use super::suites::Chosen;
use crate::Result;
use std::fmt;

/// Every test that was asked for ran, and passed.
pub(crate) struct Verdict {
    passed: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed", self.passed)
    }
}

/// What `init.sh` writes before a program, and after it with its status.
const BEGIN: &str = "vm: begin ";
const END: &str = "vm: end ";

/// Reads the lines. Each program must have begun, ended with 0, and counted as many tests as were chosen.
pub(crate) fn of(chosen: &[Chosen], lines: &[String]) -> Result<Verdict> {
    let mut complaints = Vec::new();
    let mut passed = 0;
    for suite in chosen {
        match suite_passed(suite, lines) {
            Ok(count) => passed += count,
            Err(complaint) => complaints.push(format!("{}: {complaint}", suite.label)),
        }
    }
    if complaints.is_empty() { Ok(Verdict { passed }) } else { Err(complaints.join("\n       ").into()) }
}

fn suite_passed(suite: &Chosen, lines: &[String]) -> Result<usize> {
    let begin = format!("{BEGIN}{}", suite.label);
    let from = lines.iter().position(|l| *l == begin).ok_or("it did not begin")?;
    let rest = &lines[from + 1..];
    let to = rest.iter().position(|l| l.starts_with(END)).ok_or("it did not end")?;
    let (own, end) = (&rest[..to], &rest[to]);
    let failed: Vec<&str> =
        own.iter().filter_map(|l| l.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    if !failed.is_empty() {
        return Err(
            format!("{} of {} tests failed: {}", failed.len(), suite.tests.len(), failed.join(", ")).into()
        );
    }
    if *end != format!("{END}0") {
        return Err(format!("it ended with {}", end.trim_start_matches(END)).into());
    }
    let count = own.iter().find_map(|l| l.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok());
    match count {
        Some(count) if count == suite.tests.len() => Ok(count),
        Some(count) => Err(format!("{count} tests ran, not {}", suite.tests.len()).into()),
        None => Err("it said no result".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> std::result::Result<String, String> {
        let tests = ["a", "b"].map(str::to_owned).to_vec();
        let chosen = [Chosen { label: "x lib".into(), executable: "/x".into(), tests, threads: 2 }];
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        of(&chosen, &lines).map(|v| v.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn only_what_was_said_counts() {
        let good =
            "vm: begin x lib\ntest a ... ok\ntest b ... ok\ntest result: ok. 2 passed; 0 failed\nvm: end 0\n";
        assert_eq!(verdict(good).unwrap(), "2 tests passed");
        for (text, complaint) in [
            ("", "x lib: it did not begin"),
            ("vm: begin x lib\ntest a ... ok\n", "x lib: it did not end"),
            (&good.replace("2 passed", "1 passed"), "x lib: 1 tests ran, not 2"),
            (&good.replace("end 0", "end 101"), "x lib: it ended with 101"),
            (&good.replace("b ... ok", "b ... FAILED"), "x lib: 1 of 2 tests failed: b"),
            ("vm: begin x lib\nvm: end 0\n", "x lib: it said no result"),
        ] {
            assert_eq!(verdict(text).unwrap_err(), complaint);
        }
    }
}
