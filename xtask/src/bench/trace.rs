//! `cargo xtask bench trace`: what tracing costs the traced, and how much it can take.
//!
//! ```text
//!   bench ── "go" ──► shell in a container: fork+exec, 300 times ── "done" ──► bench      (the clock is here)
//!                     beside it: nothing │ dhow trace of another container │ dhow trace of this one
//! ```
//! The second part lets a shell open files as fast as it can, and compares what it did with what was told.

use super::statistics::{Summary, summarise};
use super::{Scratch, rootfs, run_time_directory};
use crate::{Result, process};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each loop is measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// For how many seconds the storm of events lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Fail when a budget is missed
    #[arg(long)]
    enforce: bool,
}

/// A fork+exec loop with lifecycle tracing on may cost that much of one without.
const BUDGET: f64 = 1.05;
/// Events a second that must come through or be counted.
const RATE: f64 = 100_000.0;
/// Processes in one sample: long beside the clock's granularity, short beside what else the machine does.
const PROCESSES: u32 = 300;
/// Files that are opened between two looks at the clock.
const OPENS: u64 = 20_000;
/// Attaching takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What runs beside the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    OtherContainer(&'static str),
    ThisContainer(&'static str),
}

const LIFECYCLE: &str = "fork,exec,exit,oom";
const ALL: &str = "fork,exec,exit,oom,open";

const MODES: [(&str, Beside); 5] = [
    ("off", Beside::Nothing),
    ("lifecycle, filtered out", Beside::OtherContainer(LIFECYCLE)),
    ("lifecycle, on", Beside::ThisContainer(LIFECYCLE)),
    ("with open, filtered out", Beside::OtherContainer(ALL)),
    ("with open, on", Beside::ThisContainer(ALL)),
];

/// One run of the loop: by the clock, and what its processes took of the processors. The second leaves out what
/// else the machine does, the first leaves out nothing.
#[derive(Debug, Clone, Copy)]
struct Sample {
    wall: Duration,
    processor: Duration,
}

/// One line of the first table. The ratios are medians of each round's own ratio: what slows the machine for a
/// while is in both of its sides.
#[derive(Serialize)]
struct Cost {
    mode: &'static str,
    wall_milliseconds: Summary,
    processor_milliseconds: Summary,
    wall_ratio_to_off: f64,
    processor_ratio_to_off: f64,
    wall_samples: Vec<f64>,
    processor_samples: Vec<f64>,
}

/// What became of the storm.
#[derive(Serialize)]
struct Storm {
    seconds: f64,
    produced: u64,
    received: u64,
    lost: u64,
    events_per_second: f64,
}

#[derive(Serialize)]
struct Report {
    costs: Vec<Cost>,
    storm: Storm,
}

/// Measures in rounds, each mode once a round in changing order, so that noise falls on all alike.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers and probes: run this as root".into());
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "-p", "dhow", "--bins"]))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let state = Scratch(run_time_directory(&scratch.0));
    std::fs::create_dir_all(&state.0)?;
    let engine = Engine {
        program: process::target_dir().join("release/dhow"),
        root: scratch.0.join("root"),
        state: state.0.join("dhow"),
    };
    let rootfs = rootfs::make(&scratch.0.join("own"), None)?;
    engine.run(&["import", &rootfs.tar.to_string_lossy(), "bench"])?;
    let measured = measure(arguments, &engine);
    // Whatever happened: no container is left.
    let removed = engine.run(&["rm", "-f", "looping", "idle"]);
    let report = measured?;
    removed?;
    println!("{}", markdown(&report));
    let json = process::target_dir().join("bench/trace.json");
    std::fs::create_dir_all(json.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&json, serde_json::to_string_pretty(&report)?)?;
    println!("every sample: {}", json.display());
    judge(&report, arguments)
}

fn measure(arguments: &Arguments, engine: &Engine) -> Result<Report> {
    engine.run(&["run", "-d", "--name", "idle", "--network", "none", "bench", "sleep", "100000"])?;
    let mut shell = Shell::start(engine)?;
    let processes = format!("i=0; while [ $i -lt {PROCESSES} ]; do /bin/true; i=$((i+1)); done");
    // It runs when it has answered.
    shell.time(&processes)?;
    let usage = Usage::of(engine, "looping")?;
    let mut samples = MODES.map(|_| Vec::new());
    for round in 0..arguments.runs as usize {
        for turn in 0..MODES.len() {
            let index = (turn + round) % MODES.len();
            let tracer = match MODES[index].1 {
                Beside::Nothing => None,
                Beside::OtherContainer(kinds) => Some(Tracer::start(engine, kinds, "idle")?),
                Beside::ThisContainer(kinds) => Some(Tracer::start(engine, kinds, "looping")?),
            };
            // Attaching leaves the processors' caches cold and the kernel with things to free, whoever runs next.
            shell.time(&processes)?;
            let before = usage.read()?;
            let wall = shell.time(&processes)?;
            samples[index].push(Sample { wall, processor: usage.read()?.saturating_sub(before) });
            if let Some(tracer) = tracer {
                tracer.stop()?;
            }
        }
    }
    let storm = storm(engine, &mut shell, Duration::from_secs(arguments.seconds))?;
    drop(shell);
    Ok(Report { costs: costs(&samples)?, storm })
}

fn costs(samples: &[Vec<Sample>]) -> Result<Vec<Cost>> {
    let off = samples.first().ok_or("nothing was measured")?;
    MODES.iter().zip(samples).map(|((mode, _), samples)| cost(mode, samples, off)).collect()
}

fn cost(mode: &'static str, samples: &[Sample], off: &[Sample]) -> Result<Cost> {
    let times = |of: fn(&Sample) -> Duration| -> Vec<Duration> { samples.iter().map(of).collect() };
    let ratio = |of: fn(&Sample) -> Duration| {
        let mut ratios: Vec<f64> =
            samples.iter().zip(off).map(|(s, off)| of(s).as_secs_f64() / of(off).as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (wall, processor) = (times(|s| s.wall), times(|s| s.processor));
    let milliseconds = |times: &[Duration]| times.iter().map(|t| t.as_secs_f64() * 1e3).collect();
    Ok(Cost {
        mode,
        wall_milliseconds: summarise(&wall).ok_or("nothing was measured")?,
        processor_milliseconds: summarise(&processor).ok_or("nothing was measured")?,
        wall_ratio_to_off: ratio(|s| s.wall),
        processor_ratio_to_off: ratio(|s| s.processor),
        wall_samples: milliseconds(&wall),
        processor_samples: milliseconds(&processor),
    })
}

/// Opens a file again and again; the trace says at its end what it told and what it lost.
fn storm(engine: &Engine, shell: &mut Shell, least: Duration) -> Result<Storm> {
    let tracer = Tracer::start(engine, "open", "looping")?;
    let opens = format!("i=0; while [ $i -lt {OPENS} ]; do : </etc/passwd; i=$((i+1)); done");
    let begin = Instant::now();
    let mut produced = 0;
    while begin.elapsed() < least {
        shell.time(&opens)?;
        produced += OPENS;
    }
    let seconds = begin.elapsed().as_secs_f64();
    // The end of the container is the end of the trace.
    engine.run(&["kill", "looping"])?;
    let (received, lost) = tracer.finish()?;
    // One look at a million events is exact enough.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let events_per_second = produced as f64 / seconds;
    Ok(Storm { seconds, produced, received, lost, events_per_second })
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "| tracing, {PROCESSES} × fork+exec | wall, median ms | p90 ms | × off | processor, median ms | × off |\n\
         |---|--:|--:|--:|--:|--:|\n"
    );
    for cost in &report.costs {
        let Summary { median, p90, .. } = cost.wall_milliseconds;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {median:.2} | {p90:.2} | {:.3} | {:.2} | {:.3} |",
            cost.mode,
            cost.wall_ratio_to_off,
            cost.processor_milliseconds.median,
            cost.processor_ratio_to_off
        );
    }
    let Storm { seconds, produced, received, lost, events_per_second } = &report.storm;
    let _ = writeln!(
        text,
        "\n| storm of opens | events/s | produced | received | lost |\n|---|--:|--:|--:|--:|\n\
         | {seconds:.1} s | {events_per_second:.0} | {produced} | {received} | {lost} |"
    );
    text
}

/// Says whether the budgets are kept.
fn judge(report: &Report, arguments: &Arguments) -> Result {
    let lifecycle = report.costs.iter().find(|cost| cost.mode == "lifecycle, on");
    let ratio = lifecycle.ok_or("the lifecycle was not measured")?.wall_ratio_to_off;
    let storm = &report.storm;
    let counted = storm.received + storm.lost == storm.produced;
    let mut kept = true;
    let mut tell = |ok: bool, what: String| {
        println!("budget {}: {what}", if ok { "kept" } else { "missed" });
        kept &= ok;
    };
    tell(ratio <= BUDGET, format!("lifecycle tracing costs {ratio:.3} × off, and may be {BUDGET:.2}"));
    tell(
        counted,
        format!("{} received and {} lost are {} produced", storm.received, storm.lost, storm.produced),
    );
    tell(
        storm.events_per_second >= RATE,
        format!("the storm had {:.0} events/s, and must have {RATE:.0}", storm.events_per_second),
    );
    if kept || !arguments.enforce { Ok(()) } else { Err("tracing is over its budget".into()) }
}

/// dhow with directories of its own.
struct Engine {
    program: PathBuf,
    root: PathBuf,
    state: PathBuf,
}

impl Engine {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--state").arg(&self.state).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        process::output(&mut self.command(arguments))
    }
}

/// A shell in a container, which runs what it is sent.
struct Shell {
    client: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(engine: &Engine) -> Result<Self> {
        let mut client = engine
            .command(&["run", "-i", "--name", "looping", "--network", "none", "bench", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run dhow: {e}"))?;
        let input = client.stdin.take().ok_or("the shell has no input")?;
        let output = BufReader::new(client.stdout.take().ok_or("the shell has no output")?);
        Ok(Self { client, input, output })
    }

    /// How long a piece of script takes, from sending it to reading that it is done.
    fn time(&mut self, script: &str) -> Result<Duration> {
        let mut line = String::new();
        let begin = Instant::now();
        writeln!(self.input, "{script}; echo done")?;
        self.output.read_line(&mut line)?;
        let took = begin.elapsed();
        if line.trim() == "done" { Ok(took) } else { Err(format!("the shell answered {line:?}").into()) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The container is removed by force anyway.
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// What a container's processes took of the processors, those that ended included. The version 2 hierarchy counts
/// it without a controller, too.
struct Usage(PathBuf);

impl Usage {
    fn of(engine: &Engine, container: &str) -> Result<Self> {
        let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", container])?;
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let group = group.ok_or("the container has no cgroup of version 2")?;
        let files = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .map(|top| Path::new(top).join(group).join("cpu.stat"));
        let file = files.into_iter().find(|file| file.is_file()).ok_or("there is no cpu.stat")?;
        Ok(Self(file))
    }

    fn read(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(&self.0)?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(usage.ok_or("cpu.stat has no usage")?.trim().parse()?))
    }
}

/// `dhow trace` of one container, attached.
struct Tracer {
    process: Child,
    /// Reads what it tells: how much was told and lost, once it ended.
    reader: Option<std::thread::JoinHandle<std::io::Result<Vec<u8>>>>,
}

impl Tracer {
    fn start(engine: &Engine, kinds: &str, container: &str) -> Result<Self> {
        let mut process = engine
            .command(&["trace", "--format", "json", "--until-exit", "--kinds", kinds, container])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot run dhow: {e}"))?;
        let output = process.stdout.take().ok_or("the trace has no output")?;
        let reader = std::thread::spawn(move || tail_of(output));
        let mut tracer = Self { process, reader: Some(reader) };
        let deadline = Instant::now() + PATIENCE;
        while !tracer.is_attached() {
            if tracer.process.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("dhow trace of {container} does not attach").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(tracer)
    }

    /// The thread that reads the ring is started when all is in place.
    fn is_attached(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id()));
        tasks.into_iter().flatten().flatten().any(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == "dhow-trace")
        })
    }

    fn stop(mut self) -> Result {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Waits for its end: how many events it told, and how many it lost.
    fn finish(mut self) -> Result<(u64, u64)> {
        let reader = self.reader.take().ok_or("the trace was read already")?;
        let tail = reader.join().map_err(|_| "the reader of the trace panicked")??;
        self.process.wait()?;
        let last = tail.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let end: serde_json::Value = serde_json::from_slice(last)
            .map_err(|e| format!("the last line of the trace: {e}: {}", String::from_utf8_lossy(last)))?;
        let number = |key: &str| end[key].as_u64().ok_or_else(|| format!("no {key} in {end}"));
        Ok((number("events")?, number("lost")?))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Ended already, unless something went wrong.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads everything and keeps the end.
fn tail_of(mut from: impl Read) -> std::io::Result<Vec<u8>> {
    const KEPT: usize = 64 << 10;
    let mut buffer = vec![0; 1 << 20];
    let mut tail = Vec::new();
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(tail);
        }
        tail.extend_from_slice(&buffer[count.saturating_sub(KEPT)..count]);
        tail.drain(..tail.len().saturating_sub(KEPT));
    }
}
