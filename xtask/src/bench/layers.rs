//! `cargo xtask bench layers`: installing, reading and removing layers in both forms, beside decompressing and hashing
//! alone, `tar`, and other engines.
//!
//! ```text
//!   layers.rs    re-executes itself in mount, network and pid namespaces of its own: mounts and daemons end with it
//!   material.rs  two layers of made-up files, the same in every run, as docker-archives with gzip and zstd
//!   disk.rs      a fresh filesystem for every sample, in a file
//! ```
//!
//! Everybody gets the same archive, and memory that is there. dhow brings what it installs to the disk before it says so; the others do not.

mod disk;
mod material;

use super::statistics::{Summary, summarise};
use super::{Absent, Scratch};
use crate::{Result, process};
use disk::Disk;
use material::{Archive, Material};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each contender is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only installs whose name (`small gzip`, `many zstd`, …) contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Fail when dhow is over its budget, or was not measured
    #[arg(long)]
    enforce: bool,
    /// The scratch directory, in the namespaces
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// DESIGN, section 9: an indexed layer beside decompressing and hashing it, and beside `docker load`.
const BUDGET_TO_INFLATE: f64 = 1.5;
const BUDGET_TO_DOCKER: f64 = 1.0 / 3.0;

/// dockerd starts a containerd first, and both open databases; on a busy machine that takes seconds.
const DOCKER_START: Duration = Duration::from_secs(60);

/// A layer in the page cache, and again as its filesystem's file.
const MEMORY_BYTES: usize = 3 << 29;

const INFLATE: &str = "decompress and hash";
const INDEXED: &str = "dhow load, indexed";
const UNPACKED: &str = "dhow load, unpacked";
const DOCKER: &str = "docker load";
const CONTENDERS: [&str; 6] = [INFLATE, INDEXED, UNPACKED, "tar -x", "podman load", DOCKER];

/// One contender with one archive.
#[derive(Debug, Serialize)]
struct Line {
    archive: String,
    contender: &'static str,
    milliseconds: Summary,
    samples: Vec<f64>,
}

/// What a form of layers costs after it is installed.
#[derive(Debug, Serialize)]
struct Use {
    archive: String,
    form: &'static str,
    cold_read_ms: f64,
    warm_read_ms: f64,
    remove_ms: f64,
    disk_mib: u64,
    page_cache_mib: u64,
}

#[derive(Serialize)]
struct Report<'r> {
    installs: &'r [Line],
    uses: &'r [Use],
    absent: &'r [Absent],
}

pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("filesystems, containers and daemons: run this as root".into());
    }
    if let Some(scratch) = &arguments.inside {
        return inside(arguments, scratch);
    }
    let packages = ["build", "--release", "--locked", "-p", "dhow", "-p", "dhow-bench", "--bins"];
    process::run(&mut process::cargo(&packages))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--propagation", "private"]).arg(std::env::current_exe()?).args(["bench", "layers"]);
    command.arg("--inside").arg(&scratch.0).arg("--runs").arg(arguments.runs.to_string());
    command.arg("--only").arg(&arguments.only);
    if arguments.enforce {
        command.arg("--enforce");
    }
    process::run(&mut command)
}

fn inside(arguments: &Arguments, scratch: &Path) -> Result {
    let mut installs = Vec::new();
    let mut uses = Vec::new();
    let mut absent: Vec<Absent> = Vec::new();
    for material in Material::all(scratch)? {
        for archive in material.archives()? {
            if !archive.name.contains(&arguments.only) {
                continue;
            }
            let mut samples = vec![Vec::new(); CONTENDERS.len()];
            for _ in 0..arguments.runs {
                for (contender, samples) in CONTENDERS.iter().zip(&mut samples) {
                    match install(contender, &archive, scratch) {
                        Ok(took) => samples.push(took),
                        Err(error) => {
                            let name = format!("{contender} of {}", archive.name);
                            if !absent.iter().any(|known| known.name == name) {
                                let reason = error.to_string().replace('\n', " ");
                                absent.push(Absent { name, reason });
                            }
                        }
                    }
                }
            }
            for (contender, samples) in CONTENDERS.into_iter().zip(&samples) {
                let Some(milliseconds) = summarise(samples) else { continue };
                let samples = samples.iter().map(|took| took.as_secs_f64() * 1e3).collect();
                installs.push(Line { archive: archive.name.clone(), contender, milliseconds, samples });
            }
            if archive.name.ends_with("gzip") {
                for (form, name) in [("indexed", INDEXED), ("unpacked", UNPACKED)] {
                    match use_of(form, &archive, scratch) {
                        Ok(line) => uses.push(line),
                        Err(error) => absent.push(Absent {
                            name: format!("use of {name} of {}", archive.name),
                            reason: error.to_string().replace('\n', " "),
                        }),
                    }
                }
            }
        }
    }
    show(&installs, &uses, &absent);
    let path = process::target_dir().join("bench/layers.json");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    let report = Report { installs: &installs, uses: &uses, absent: &absent };
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("every sample: {}", path.display());
    judge(&installs, arguments.enforce)
}

fn release(program: &str) -> PathBuf {
    process::target_dir().join("release").join(program)
}

/// One install on a fresh filesystem.
fn install(contender: &str, archive: &Archive, scratch: &Path) -> Result<Duration> {
    let disk = Disk::fresh(scratch)?;
    let mut daemon = None;
    let mut command = match contender {
        INFLATE => {
            let mut command = Command::new(release("inflate"));
            command.arg(&archive.layer);
            command
        }
        INDEXED | UNPACKED => {
            let form = if contender == INDEXED { "indexed" } else { "unpacked" };
            // An engine that is there, as dockerd is: its state is made once, by the first command.
            process::output(&mut dhow(&disk, form, &["images"])?)?;
            dhow(&disk, form, &["load", "-i"])?
        }
        "tar -x" => {
            let mut command = Command::new("tar");
            command.arg("-C").arg(&disk.path).args(["--xattrs", "--numeric-owner", "-p"]);
            command.arg(if archive.name.ends_with("zstd") { "--zstd" } else { "--gzip" }).arg("-xf");
            command.arg(&archive.layer);
            command
        }
        "podman load" => podman(&disk)?,
        _ => docker(&disk, &mut daemon)?,
    };
    if contender.ends_with("load") || contender.starts_with("dhow") {
        command.arg(&archive.path);
    }
    // What was written to make all this is not to be written during the measurement.
    nothing_to_write();
    take_memory();
    let before = Instant::now();
    let ended = process::output(&mut command);
    let took = before.elapsed();
    if let Some(mut daemon) = daemon {
        end(&mut daemon)?;
    }
    ended.map(|_| took)
}

fn nothing_to_write() {
    let _ = Command::new("sync").status();
}

/// A virtual machine gets much of its memory only when it touches it, at a millisecond for a megabyte, and gives it
/// back after a while. Every contender finds as much as it fills, touched a moment ago.
fn take_memory() {
    drop(std::hint::black_box(vec![1u8; MEMORY_BYTES]));
}

/// `dhow` with everything on that disk.
fn dhow(disk: &Disk, form: &str, arguments: &[&str]) -> Result<Command> {
    let settings = disk.path.join("dhow.json");
    std::fs::write(&settings, format!("{{\"layer-store\": {form:?}}}"))?;
    let mut command = Command::new(release("dhow"));
    command.arg("--config-file").arg(settings);
    command.arg("--root").arg(disk.path.join("root")).arg("--state").arg(disk.path.join("run"));
    command.args(arguments);
    Ok(command)
}

fn podman(disk: &Disk) -> Result<Command> {
    process::find_program("podman").ok_or("not installed")?;
    let mut command = Command::new("podman");
    for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(flag).arg(disk.path.join("podman").join(name));
    }
    command.args(["--cgroup-manager", "cgroupfs", "load", "-i"]);
    Ok(command)
}

/// A dockerd of our own, without a bridge.
fn docker(disk: &Disk, daemon: &mut Option<Child>) -> Result<Command> {
    process::find_program("docker").ok_or("not installed")?;
    let below = |name: &str| disk.path.join("docker").join(name);
    std::fs::create_dir_all(below(""))?;
    let socket = format!("unix://{}", below("socket").display());
    let log = std::fs::File::create(below("log"))?;
    let mut command = Command::new("dockerd");
    for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(flag).arg(below(name));
    }
    command.args(["--host", &socket, "--bridge=none", "--iptables=false", "--ip6tables=false"]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let process = daemon.insert(command.spawn().map_err(|e| format!("cannot run dockerd: {e}"))?);
    let deadline = Instant::now() + DOCKER_START;
    while let Err(error) = process::output(Command::new("docker").args(["--host", &socket, "version"])) {
        if process.try_wait()?.is_some() || Instant::now() > deadline {
            let log = std::fs::read_to_string(below("log")).unwrap_or_default();
            end(process)?;
            *daemon = None;
            let last = log.lines().last().unwrap_or_default();
            return Err(format!("dockerd did not start: {error}; its last line: {last}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut client = Command::new("docker");
    client.args(["--host", &socket, "load", "-i"]);
    Ok(client)
}

/// TERM, so that it stops its containerd in order.
fn end(daemon: &mut Child) -> Result {
    let _ = Command::new("kill").arg(daemon.id().to_string()).status();
    daemon.wait()?;
    Ok(())
}

/// Reads every file of an image in a container, cold and warm, and removes the image.
fn use_of(form: &'static str, archive: &Archive, scratch: &Path) -> Result<Use> {
    let mut disk = Disk::fresh(scratch)?;
    process::output(dhow(&disk, form, &["load", "-i"])?.arg(&archive.path))?;
    let disk_mib = disk.used_mib("root")?;
    let read_all = ["run", "--rm", "--network", "none", archive.image, "/bin/busybox", "sh", "-c"];
    let script = "busybox find / -xdev -type f -exec busybox cat {} + > /dev/null";
    let time = |mut command: Command| -> Result<f64> {
        let before = Instant::now();
        process::output(&mut command)?;
        Ok(before.elapsed().as_secs_f64() * 1e3)
    };
    let read = |disk: &Disk| -> Result<f64> {
        let mut command = dhow(disk, form, &read_all)?;
        command.arg(script);
        time(command)
    };
    disk.forget_pages()?;
    let before = cached_mib()?;
    let cold_read_ms = read(&disk)?;
    // The monitor drops what it can when the container is gone.
    std::thread::sleep(Duration::from_millis(300));
    let page_cache_mib = cached_mib()?.saturating_sub(before);
    let warm: Vec<Duration> =
        (0..3).map(|_| read(&disk).map(|ms| Duration::from_secs_f64(ms / 1e3))).collect::<Result<_>>()?;
    let warm_read_ms = summarise(&warm).map_or(0.0, |summary| summary.median);
    let remove_ms = time(dhow(&disk, form, &["rmi", archive.image])?)?;
    Ok(Use {
        archive: archive.name.clone(),
        form,
        cold_read_ms,
        warm_read_ms,
        remove_ms,
        disk_mib,
        page_cache_mib,
    })
}

/// The machine's page cache, block devices' not counted.
fn cached_mib() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Cached:")?.trim().strip_suffix("kB"));
    Ok(kib.ok_or("no Cached: in /proc/meminfo")?.trim().parse::<u64>()? / 1024)
}

fn median(installs: &[Line], archive: &str, contender: &str) -> Option<f64> {
    let found = installs.iter().find(|line| line.archive == archive && line.contender == contender)?;
    Some(found.milliseconds.median)
}

fn show(installs: &[Line], uses: &[Use], absent: &[Absent]) {
    println!("| install | contender | median ms | least ms | × decompress and hash |\n|---|---|--:|--:|--:|");
    for Line { archive, contender, milliseconds, .. } in installs {
        let ratio = median(installs, archive, INFLATE).map_or(f64::NAN, |base| milliseconds.median / base);
        let Summary { median, minimum, .. } = milliseconds;
        println!("| {archive} | {contender} | {median:.0} | {minimum:.0} | {ratio:.2} |");
    }
    println!("\n| use | form | read all, cold ms | warm ms | remove ms | disk MiB | page cache MiB |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    for one in uses {
        let Use { archive, form, cold_read_ms, warm_read_ms, remove_ms, disk_mib, page_cache_mib } = one;
        println!(
            "| {archive} | {form} | {cold_read_ms:.0} | {warm_read_ms:.0} | {remove_ms:.0} | {disk_mib} | {page_cache_mib} |"
        );
    }
    for Absent { name, reason } in absent {
        println!("\nnot measured: {name}: {reason}");
    }
}

/// Says whether dhow keeps its budgets.
fn judge(installs: &[Line], enforce: bool) -> Result {
    let mut kept = true;
    let mut archives: Vec<&str> = installs.iter().map(|line| line.archive.as_str()).collect();
    archives.dedup();
    for archive in archives {
        let ours = median(installs, archive, INDEXED);
        for (peer, budget) in [(INFLATE, BUDGET_TO_INFLATE), (DOCKER, BUDGET_TO_DOCKER)] {
            let Some((ours, theirs)) = ours.zip(median(installs, archive, peer)) else {
                println!("budget unknown: {archive} beside {peer} was not measured");
                // This docker does not know zstd: there is nothing to be compared with.
                kept &= peer == DOCKER && archive.ends_with("zstd") && ours.is_some();
                continue;
            };
            let ratio = ours / theirs;
            let word = if ratio <= budget { "kept" } else { "missed" };
            println!("budget {word}: {archive}, indexed, is {ratio:.2} × {peer}, and may be {budget:.2}");
            kept &= ratio <= budget;
        }
    }
    if kept || !enforce { Ok(()) } else { Err("installing layers is over its budget".into()) }
}
