//! qemu: boots, follows what the tests say, ends in time.

use super::image::Image;
use super::kernel::Kernel;
use crate::{Result, process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";

const MEMORY: &str = "2G";
/// How many lines of the kernel's console tell why it did not boot.
const CONSOLE_TAIL: usize = 40;
/// The first line of `init.sh`: the machine has booted.
const BOOTED: &str = "vm: booted ";
/// Its last line.
const FINISHED: &str = "vm: finished";
/// A machine that has not booted by then will not: it takes 5 s on two busy cores.
const BOOT_PATIENCE: Duration = Duration::from_secs(120);

/// Boots, prints and returns what the tests wrote.
///
/// # Errors
/// When it does not boot, with the end of its console; when it does not finish in time.
pub(crate) fn run(kernel: &Kernel, image: &Image, timeout: Duration) -> Result<Vec<String>> {
    let console = image.disk.with_file_name("console.log");
    let _ = std::fs::remove_file(&console);
    let mut machine = Machine(start(kernel, image, &console)?);
    let begin = Instant::now();
    let output = machine.0.stdout.take().ok_or("qemu has no output")?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(std::result::Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    let mut booted = false;
    loop {
        let patience = if booted { timeout } else { timeout.min(BOOT_PATIENCE) };
        match receive.recv_timeout(patience.saturating_sub(begin.elapsed())) {
            Ok(line) => {
                println!("  {line}");
                booted |= line.starts_with(BOOTED);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let what = if booted { "did not finish" } else { "did not boot" };
                return Err(complain(&format!("the machine {what} in {patience:?}"), &console));
            }
        }
    }
    let status = machine.0.wait().map_err(|e| format!("cannot wait for qemu: {e}"))?;
    if lines.last().is_none_or(|l| l != FINISHED) || !status.success() {
        return Err(complain(&format!("the machine ended ({status}) before it finished"), &console));
    }
    Ok(lines)
}

fn start(kernel: &Kernel, image: &Image, console: &Path) -> Result<Child> {
    // Ends with us, however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command.args(["-accel", "tcg,thread=multi,tb-size=512", "-machine", "pc", "-cpu", "max", "-smp", "2"]);
    command.args(["-m", MEMORY, "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.args(["-chardev", "stdio,id=tests,signal=off", "-serial", "chardev:tests"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&image.initramfs);
    // Whatever is on the disk, nobody reads it after this run: no flush needs to reach this machine's.
    command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", image.disk.display()));
    // `cgroup_no_v1`: nothing can mount a v1 hierarchy by accident. Mitigations cost an emulator most.
    command.args(["-append", "console=ttyS0 panic=-1 rdinit=/init mitigations=off cgroup_no_v1=all"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().map_err(|e| {
        let known = process::find_program(QEMU).is_some();
        let hint = if known { "" } else { ": run `cargo xtask setup`" };
        format!("cannot run {QEMU}: {e}{hint}").into()
    })
}

/// Ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn complain(what: &str, console: &Path) -> Box<dyn std::error::Error> {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(CONSOLE_TAIL)..];
    format!("{what}; the end of its console ({}):\n{}", console.display(), tail.join("\n")).into()
}
