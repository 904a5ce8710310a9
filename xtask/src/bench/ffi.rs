//! `cargo xtask bench ffi`: one container from its start to its exit, through the C ABI beside the command line.
//!
//! ```text
//!   bench ──┬── dhow run --rm --network none bench true        a whole process
//!           ├── ffi/tests/c/bench.c, once                      a whole process: open, dhow_run, close
//!           └── the same, kept open ◄── a line, nanoseconds ──► dhow_run │ create, start, pidfd, wait
//! ```

use super::statistics::{Summary, summarise};
use super::{Contender, Scratch, rootfs, run_time_directory};
use crate::{Result, process};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail when the C ABI is slower than the command line
    #[arg(long)]
    enforce: bool,
}

/// The kernel takes namespaces down in the background; without a pause, one would pay for the one before it.
const PAUSE: Duration = Duration::from_millis(15);

/// What is measured, and how the table calls it.
const NAMES: [&str; 4] = [
    "`dhow run`, whole process",
    "C: open, `dhow_run`, close, whole process",
    "C: `dhow_run`",
    "C: create, start, pidfd, wait",
];

/// One line of the table and of the JSON file.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    milliseconds: Summary,
    ratio_to_cli: f64,
    samples: Vec<f64>,
}

/// Measures in rounds, each once a round, in changing order.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers: run this as root".into());
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "-p", "dhow", "-p", "dhow-ffi"]))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let run_time = Scratch(run_time_directory(&scratch.0));
    std::fs::create_dir_all(&run_time.0)?;
    let (root, state) = (scratch.0.join("root"), run_time.0.join("dhow"));
    let prefix = install(&scratch.0)?;
    let program = compile(&scratch.0, &prefix)?;
    let dhow = prefix.join("bin/dhow");
    let rootfs = rootfs::make(&scratch.0.join("image"), None)?;
    let mut import = Command::new(&dhow);
    import.arg("--root").arg(&root).arg("--state").arg(&state);
    process::output(import.arg("import").arg(&rootfs.tar).arg("bench"))?;

    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (dhow, root, state) = (text(&dhow), text(&root), text(&state));
    let words = ["run", "--rm", "--network", "none", "bench", "true"];
    let cli = [&*dhow, "--root", &*root, "--state", &*state].into_iter().chain(words).map(str::to_owned);
    let once = [text(&program), root.clone(), state.clone(), "once".to_owned()];
    let whole = [Contender::new(NAMES[0], String::new(), cli), Contender::new(NAMES[1], String::new(), once)];
    let mut kept =
        [Kept::start(&program, &root, &state, "run")?, Kept::start(&program, &root, &state, "start")?];
    for contender in &whole {
        contender.warm_up()?;
    }
    for program in &mut kept {
        for _ in 0..3 {
            program.measure()?;
        }
    }
    let mut samples: [Vec<Duration>; 4] = Default::default();
    for round in 0..arguments.runs as usize {
        for turn in 0..samples.len() {
            let index = (turn + round) % samples.len();
            samples[index].push(match index.checked_sub(whole.len()) {
                None => whole[index].measure()?,
                Some(index) => kept[index].measure()?,
            });
            std::thread::sleep(PAUSE);
        }
    }
    tell(&lines(&samples)?, arguments.enforce)
}

/// What C programs need, below a prefix.
fn install(scratch: &Path) -> Result<PathBuf> {
    let prefix = scratch.join("prefix");
    let script = process::workspace().join("ffi/install.sh");
    process::output(Command::new(script).arg(process::target_dir().join("release")).arg(&prefix))?;
    Ok(prefix)
}

fn compile(scratch: &Path, prefix: &Path) -> Result<PathBuf> {
    let program = scratch.join("bench-ffi");
    let source = process::workspace().join("ffi/tests/c/bench.c");
    let path = |below: &str| prefix.join(below).to_string_lossy().into_owned();
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]).arg(source).arg("-o").arg(&program);
    compiler.arg(format!("-I{}", path("include"))).arg(format!("-L{}", path("lib"))).arg("-ldhow");
    process::output(compiler.arg(format!("-Wl,-rpath,{}", path("lib"))))?;
    Ok(program)
}

/// The C program with an engine that stays open.
struct Kept {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Kept {
    fn start(program: &Path, root: &str, state: &str, what: &str) -> Result<Self> {
        let mut process = Command::new(program)
            .args([root, state, what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", program.display()))?;
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or("the C program has no output")?);
        Ok(Self { process, requests, answers })
    }

    fn measure(&mut self) -> Result<Duration> {
        let requests = self.requests.as_mut().ok_or("the C program has ended")?;
        writeln!(requests)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let took = line.trim().parse().map_err(|_| format!("the C program answered {line:?}"))?;
        Ok(Duration::from_nanos(took))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // End of file ends it.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

fn lines(samples: &[Vec<Duration>; 4]) -> Result<Vec<Line>> {
    let summaries = samples.iter().map(|s| summarise(s).ok_or("nothing was measured"));
    let summaries = summaries.collect::<std::result::Result<Vec<Summary>, _>>()?;
    let cli = summaries[0].median;
    Ok(NAMES
        .into_iter()
        .zip(summaries)
        .zip(samples)
        .map(|((name, milliseconds), samples)| Line {
            name,
            milliseconds,
            ratio_to_cli: milliseconds.median / cli,
            samples: samples.iter().map(|s| s.as_secs_f64() * 1e3).collect(),
        })
        .collect())
}

fn tell(lines: &[Line], enforce: bool) -> Result {
    let mut table =
        String::from("| one container, start to exit | median ms | p90 ms | least ms | × CLI |\n");
    table.push_str("|---|--:|--:|--:|--:|\n");
    for Line { name, milliseconds: Summary { minimum, median, p90 }, ratio_to_cli, .. } in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {name} | {median:.2} | {p90:.2} | {minimum:.2} | {ratio_to_cli:.2} |");
    }
    println!("{table}");
    let json = process::target_dir().join("bench/ffi.json");
    if let Some(directory) = json.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&json, serde_json::to_string_pretty(lines)?)?;
    println!("every sample: {}", json.display());
    let slower: Vec<&str> = lines.iter().skip(2).filter(|l| l.ratio_to_cli > 1.0).map(|l| l.name).collect();
    if slower.is_empty() {
        println!("budget kept: a call through the C ABI is no slower than the command line");
        return Ok(());
    }
    let message = format!("slower than the command line: {}", slower.join(", "));
    println!("budget missed: {message}");
    if enforce { Err(message.into()) } else { Ok(()) }
}
