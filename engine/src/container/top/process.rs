//! One process as `/proc/PID` tells it (proc(5)), and what is needed of the machine to read its numbers.

use crate::local_time::Zone;
use dhow_model::{Result, ResultExt, Timestamp};
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::time::SystemTime;

/// The unit of times in `/proc/PID/stat` (`USER_HZ`), which is 100 on all of Linux' 64-bit machines.
pub(super) const TICKS_PER_SECOND: u64 = 100;

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The program's short name.
    pub(super) comm: String,
    /// The whole command line; empty for one that has none.
    pub(super) args: String,
    pub(super) state: char,
    pub(super) ppid: i32,
    pub(super) pgid: i32,
    pub(super) session: i32,
    pub(super) tty: u32,
    pub(super) foreground: i32,
    pub(super) cpu_ticks: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
    /// Real and effective.
    pub(super) uids: [u32; 2],
    pub(super) gids: [u32; 2],
}

/// What the numbers of a process are measured against.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) now: Timestamp,
    pub(super) uptime_ticks: u64,
    pub(super) memory_kib: u64,
    pub(super) page_kib: u64,
    pub(super) zone: Zone,
    pub(super) users: HashMap<u32, String>,
    pub(super) groups: HashMap<u32, String>,
}

impl Machine {
    pub(super) fn read() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).context(|| format!("read {path}"));
        let uptime = read("/proc/uptime")?;
        let seconds = uptime.split_whitespace().next().and_then(|text| text.split_once('.'));
        let uptime_ticks = seconds.map_or(0, |(whole, hundredths)| {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            number(whole) * TICKS_PER_SECOND + number(hundredths)
        });
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .context(|| "ask for the page size".to_owned())?;
        let page_kib = page_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096) / 1024;
        let memory_kib = value_of(&read("/proc/meminfo")?, "MemTotal:").unwrap_or(0);
        // Names are the host's, as `ps` on the host shows them; a machine without these files has numbers.
        let names = |path: &str| fs::read_to_string(path).map(|text| parse_names(&text)).unwrap_or_default();
        Ok(Self {
            now: Timestamp::from(SystemTime::now()),
            uptime_ticks,
            memory_kib,
            page_kib,
            zone: Zone::local(),
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        })
    }

    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

/// Reads a process; `None` when it has ended.
pub(super) fn read(pid: i32) -> Result<Option<Process>> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => {
                Ok(None)
            }
            Err(error) => Err(error).context(|| format!("read {path}")),
        }
    };
    let (Some(stat), Some(status), Some(command)) = (read("stat")?, read("status")?, read("cmdline")?) else {
        return Ok(None);
    };
    Ok(parse(pid, &String::from_utf8_lossy(&stat), &String::from_utf8_lossy(&status), &command))
}

/// "No such process": what reading a file of a process that has just ended gives.
const ESRCH: i32 = nix::errno::Errno::ESRCH as i32;

/// `None` when it is no `stat` line. Pure.
fn parse(pid: i32, stat: &str, status: &str, command: &[u8]) -> Option<Process> {
    // The name stands in parentheses and may hold anything, parentheses too.
    let (before, after) = stat.rsplit_once(')')?;
    let (_, comm) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // `fields[0]` is field 3 of proc(5).
    let signed = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let unsigned = |field: usize| u64::try_from(signed(field)).unwrap_or(0);
    let id = |field: usize| i32::try_from(signed(field)).unwrap_or(0);
    let args = String::from_utf8_lossy(command).trim_end_matches('\0').replace('\0', " ");
    Some(Process {
        pid,
        comm: plain(comm),
        args: plain(&args),
        state: fields.first().and_then(|text| text.chars().next())?,
        ppid: id(4),
        pgid: id(5),
        session: id(6),
        // A signed number that is a bit pattern.
        tty: u32::try_from(signed(7) & 0xffff_ffff).unwrap_or(0),
        foreground: id(8),
        cpu_ticks: unsigned(14) + unsigned(15),
        priority: signed(18),
        nice: signed(19),
        threads: unsigned(20),
        start_ticks: unsigned(22),
        virtual_bytes: unsigned(23),
        resident_pages: unsigned(24),
        uids: ids_of(status, "Uid:"),
        gids: ids_of(status, "Gid:"),
    })
}

/// What a process calls itself must not steer a terminal: `ps` shows `?` instead.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Real and effective id of `Uid:` or `Gid:`.
fn ids_of(status: &str, name: &str) -> [u32; 2] {
    let mut ids = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|text| text.parse().unwrap_or(0));
    [ids.next().unwrap_or(0), ids.next().unwrap_or(0)]
}

/// `MemTotal:  123 kB` → 123.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Ids to names, of `passwd` and `group` alike. The first line of an id counts.
fn parse_names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process() {
        let stat = "7 (a) b) S 1 7 6 34817 9 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 2048000 250 1 1";
        let status = "Name:\ta) b\nUid:\t1000\t0\t0\t0\nGid:\t5\t6\t6\t6\n";
        let process = parse(7, stat, status, b"sh\0-c\0echo \x1b[2J\0").unwrap();
        assert_eq!(process.comm, "a) b");
        assert_eq!(process.args, "sh -c echo ?[2J");
        assert_eq!((process.ppid, process.pgid, process.session, process.foreground), (1, 7, 6, 9));
        assert_eq!((process.cpu_ticks, process.threads, process.start_ticks), (200, 3, 12345));
        assert_eq!((process.uids, process.gids), ([1000, 0], [5, 6]));
        assert_eq!(parse(7, "nonsense", "", b""), None);
    }

    #[test]
    fn names() {
        let names = parse_names("root:x:0:0:r:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\nweb:x:33:33::/:/\n");
        assert_eq!(names[&0], "root");
        assert_eq!(names[&33], "web");
    }

    #[test]
    fn oneself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let process = read(own).unwrap().unwrap();
        assert_eq!(process.pid, own);
        assert!(process.threads > 0 && process.start_ticks > 0);
        assert_eq!(read(i32::MAX).unwrap(), None);
    }
}
