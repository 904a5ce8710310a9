//! What `top` can show of a process: the columns of `ps` (ps(1), "STANDARD FORMAT SPECIFIERS"), with its heads.

use super::process::{Machine, Process, TICKS_PER_SECOND};
use dhow_model::Timestamp;

/// A column, with the head that it has or was given.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) title: String,
    value: fn(&Process, &Machine) -> String,
}

impl Column {
    pub(super) fn show(&self, process: &Process, machine: &Machine) -> String {
        (self.value)(process, machine)
    }

    pub(super) fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }
}

/// The column of a name that `-o` takes.
pub(super) fn find(asked: &str) -> Option<Column> {
    let (name, title, value) = COLUMNS.iter().find(|(known, _, _)| *known == real_name(asked))?;
    // A second name of a column may have a head of its own.
    let title = OTHER_TITLES.iter().find(|(other, _)| *other == asked).map_or(*title, |(_, title)| title);
    Some(Column { name, title: title.to_owned(), value: *value })
}

/// Names that mean the same.
fn real_name(name: &str) -> &str {
    match name {
        "command" | "cmd" => "args",
        "ucmd" | "ucomm" => "comm",
        "uname" | "euser" => "user",
        "euid" => "uid",
        "egroup" => "group",
        "egid" => "gid",
        "cputime" => "time",
        "pgrp" => "pgid",
        "sess" | "session" => "sid",
        "tt" | "tname" => "tty",
        "start_time" | "bsdstart" => "stime",
        "thcount" => "nlwp",
        "ni" => "nice",
        "rssize" | "rsz" => "rss",
        "vsize" => "vsz",
        "%cpu" => "pcpu",
        "%mem" => "pmem",
        "state" => "s",
        other => other,
    }
}

type Shown = (&'static str, &'static str, fn(&Process, &Machine) -> String);

/// Second names that have a head of their own.
const OTHER_TITLES: [(&str, &str); 14] = [
    ("cmd", "CMD"),
    ("ucmd", "CMD"),
    ("euser", "EUSER"),
    ("euid", "EUID"),
    ("egroup", "EGROUP"),
    ("egid", "EGID"),
    ("pgrp", "PGRP"),
    ("sess", "SESS"),
    ("session", "SESS"),
    ("tname", "TTY"),
    ("thcount", "THCNT"),
    ("rsz", "RSZ"),
    ("bsdstart", "START"),
    ("start_time", "START"),
];

const COLUMNS: [Shown; 30] = [
    ("pid", "PID", |p, _| p.pid.to_string()),
    ("ppid", "PPID", |p, _| p.ppid.to_string()),
    ("pgid", "PGID", |p, _| p.pgid.to_string()),
    ("sid", "SID", |p, _| p.session.to_string()),
    ("user", "USER", |p, m| m.user(p.uids[1])),
    ("ruser", "RUSER", |p, m| m.user(p.uids[0])),
    ("uid", "UID", |p, _| p.uids[1].to_string()),
    ("ruid", "RUID", |p, _| p.uids[0].to_string()),
    ("group", "GROUP", |p, m| m.group(p.gids[1])),
    ("rgroup", "RGROUP", |p, m| m.group(p.gids[0])),
    ("gid", "GID", |p, _| p.gids[1].to_string()),
    ("rgid", "RGID", |p, _| p.gids[0].to_string()),
    ("comm", "COMMAND", |p, _| p.comm.clone()),
    ("args", "COMMAND", |p, _| arguments(p)),
    ("tty", "TT", |p, _| terminal(p.tty)),
    ("time", "TIME", |p, _| clock(p.cpu_ticks / TICKS_PER_SECOND)),
    ("bsdtime", "TIME", |p, _| minutes(p.cpu_ticks / TICKS_PER_SECOND)),
    ("stime", "STIME", start),
    ("etime", "ELAPSED", |p, m| elapsed(age(p, m))),
    ("etimes", "ELAPSED", |p, m| age(p, m).to_string()),
    ("c", "C", |p, m| (cpu_per_mille(p, m) / 10).min(99).to_string()),
    ("pcpu", "%CPU", |p, m| tenths(cpu_per_mille(p, m))),
    ("pmem", "%MEM", |p, m| {
        tenths(resident_kib(p, m).saturating_mul(1000).checked_div(m.memory_kib).unwrap_or(0))
    }),
    ("vsz", "VSZ", |p, _| (p.virtual_bytes / 1024).to_string()),
    ("rss", "RSS", |p, m| resident_kib(p, m).to_string()),
    ("s", "S", |p, _| p.state.to_string()),
    ("stat", "STAT", |p, _| flags(p)),
    ("nlwp", "NLWP", |p, _| p.threads.to_string()),
    ("nice", "NI", |p, _| p.nice.to_string()),
    ("pri", "PRI", |p, _| (39 - p.priority).to_string()),
];

/// The command line, or the short name of what has none.
fn arguments(process: &Process) -> String {
    if process.args.is_empty() { format!("[{}]", process.comm) } else { process.args.clone() }
}

/// The terminal of a device number (devices.txt of the kernel): pseudo terminals and consoles.
fn terminal(device: u32) -> String {
    // As the kernel encodes it (`new_encode_dev`).
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

/// `00:01:40`, with days in front when there are some.
fn clock(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let text = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { text } else { format!("{days}-{text}") }
}

/// `0:05`, `123:45`: as BSD's ps has it.
fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `01:40`, `01:00:00`, `2-03:00:00`.
fn elapsed(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        _ => clock(seconds),
    }
}

fn age_ticks(process: &Process, machine: &Machine) -> u64 {
    machine.uptime_ticks.saturating_sub(process.start_ticks)
}

fn age(process: &Process, machine: &Machine) -> u64 {
    age_ticks(process, machine) / TICKS_PER_SECOND
}

/// Time on a CPU by time alive.
fn cpu_per_mille(process: &Process, machine: &Machine) -> u64 {
    process.cpu_ticks.saturating_mul(1000).checked_div(age_ticks(process, machine)).unwrap_or(0)
}

fn resident_kib(process: &Process, machine: &Machine) -> u64 {
    process.resident_pages * machine.page_kib
}

fn tenths(per_mille: u64) -> String {
    format!("{}.{}", per_mille / 10, per_mille % 10)
}

/// When it began: the time if it was today, else the day, or the year.
fn start(process: &Process, machine: &Machine) -> String {
    let then = Timestamp::from_seconds(machine.now.seconds().saturating_sub_unsigned(age(process, machine)));
    // `2026-11-21T09:40:27…`
    let (now, then) = (machine.zone.rfc3339_fixed(machine.now), machine.zone.rfc3339_fixed(then));
    let part = |text: &str, from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    if part(&now, 0, 10) == part(&then, 0, 10) {
        return part(&then, 11, 16);
    }
    if part(&now, 0, 4) != part(&then, 0, 4) {
        return part(&then, 0, 4);
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = part(&then, 5, 7).parse::<usize>().ok().and_then(|m| MONTHS.get(m.checked_sub(1)?));
    format!("{}{}", month.unwrap_or(&"?"), part(&then, 8, 10))
}

/// The state with what `ps` adds to it.
fn flags(process: &Process) -> String {
    let mut text = process.state.to_string();
    match process.nice {
        ..0 => text.push('<'),
        1.. => text.push('N'),
        0 => {}
    }
    if process.session == process.pid {
        text.push('s');
    }
    if process.threads > 1 {
        text.push('l');
    }
    if process.foreground == process.pgid {
        text.push('+');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        let machine = Machine {
            now: Timestamp::from_seconds(1_795_000_000),
            uptime_ticks: 1_000_000,
            memory_kib: 1000,
            page_kib: 4,
            ..Machine::default()
        };
        let process = Process {
            pid: 7,
            comm: "sleep".into(),
            state: 'S',
            pgid: 7,
            session: 7,
            foreground: 7,
            tty: (136 << 8) | 3,
            cpu_ticks: 20_000,
            threads: 2,
            nice: -1,
            start_ticks: 900_000,
            resident_pages: 25,
            ..Process::default()
        };
        for (name, want) in [
            ("pid", "7"),
            ("args", "[sleep]"),
            ("comm", "sleep"),
            ("tty", "pts/3"),
            ("time", "00:03:20"),
            ("etime", "16:40"),
            ("etimes", "1000"),
            ("c", "20"),
            ("%cpu", "20.0"),
            ("pmem", "10.0"),
            ("rss", "100"),
            ("stat", "S<sl+"),
            ("user", "0"),
            ("stime", "10:50"),
        ] {
            assert_eq!(find(name).unwrap().show(&process, &machine), want, "{name}");
        }
        let old = Process { start_ticks: 0, ..process };
        let later = |days: i64| Machine {
            now: Timestamp::from_seconds(1_795_000_000 + days * 86_400),
            uptime_ticks: u64::try_from(days).unwrap() * 86_400 * TICKS_PER_SECOND,
            ..machine.clone()
        };
        assert_eq!(find("stime").unwrap().show(&old, &later(1)), "Nov18");
        assert_eq!(find("stime").unwrap().show(&old, &later(400)), "2026");
        assert_eq!(find("etime").unwrap().show(&old, &later(1)), "1-00:00:00");
        assert_eq!(terminal(0), "?");
        assert!(find("wchan").is_none());
        assert_eq!(find("cmd").unwrap().title, "CMD");
    }
}
