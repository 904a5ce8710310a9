//! Two machines on a wire: network namespaces of a test's own. The engine under test runs in the first, so that what a
//! test does to a machine's firewall and routes it does to nobody else's.

use crate::sandbox::{Ended, eventually, finish};
use std::fs::File;
use std::process::{Child, Command, Stdio};

/// Addresses of documentation (RFC 5737).
pub(crate) const HOST: &str = "192.0.2.1";
pub(crate) const NEIGHBOUR: &str = "192.0.2.2";

/// A network namespace, held by a process that sleeps.
pub(crate) struct Machine(Child);

impl Machine {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "1000"]).stdin(Stdio::null()).stdout(Stdio::null());
        let machine = Self(command.spawn().unwrap());
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net"));
        let own = of("self").unwrap();
        let pid = machine.0.id().to_string();
        eventually("a namespace is there", || of(&pid).is_ok_and(|its| its != own));
        machine
    }

    /// Where its namespace is found.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Runs a command there, to its end.
    #[track_caller]
    pub(crate) fn run(&self, command: &Command) -> Ended {
        let mut there = Command::new("nsenter");
        there.arg(format!("--net={}", self.path())).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        finish(there, b"")
    }

    /// The same by words.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Ended {
        // Not `sh`: busybox's has an `ip` of its own, which makes no pairs.
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        self.run(&command)
    }

    /// Calls `f` there, on a thread that ends with it.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let namespace = File::open(self.path()).unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            f()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The two.
pub(crate) struct Lan {
    /// Where the engine runs.
    pub(crate) host: Machine,
    /// Who else is on the wire.
    pub(crate) neighbour: Machine,
}

impl Lan {
    pub(crate) fn new() -> Self {
        let lan = Self { host: Machine::new(), neighbour: Machine::new() };
        let pid = lan.neighbour.0.id();
        lan.host
            .sh(&format!(
                "ip link set lo up && ip link add wire type veth peer name wire netns {pid} && \
                 ip addr add {HOST}/24 dev wire && ip link set wire up"
            ))
            .ok();
        lan.neighbour.sh(&format!("ip addr add {NEIGHBOUR}/24 dev wire && ip link set wire up")).ok();
        lan
    }
}
