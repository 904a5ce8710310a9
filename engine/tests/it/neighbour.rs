//! A machine beside this one: a network namespace at the other end of a wire.

use crate::sandbox::eventually;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};

/// What is at the other end. Dropping it takes the wire away.
pub(crate) struct Neighbour {
    wire: String,
    holder: Child,
    /// The last byte but one of both IPv4 addresses.
    number: u8,
}

impl Neighbour {
    /// Makes one. The number is that of its wire, and no other test's.
    pub(crate) fn new(number: u8) -> Self {
        let wire = format!("nb{}x{number}", std::process::id() % 1_000_000);
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "10000"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("unshare: {e}"));
        let neighbour = Self { wire, holder, number };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", neighbour.holder.id());
        eventually("the other machine is there", || std::fs::read_link(&path).is_ok_and(|link| link != own));
        let (near, far) = (neighbour.wire.as_str(), format!("{}p", neighbour.wire));
        ip(&[
            "link",
            "add",
            near,
            "type",
            "veth",
            "peer",
            "name",
            &far,
            "netns",
            &neighbour.holder.id().to_string(),
        ]);
        ip(&["addr", "add", &format!("{}/24", neighbour.host()), "dev", near]);
        ip(&["addr", "add", &format!("{}/64", neighbour.host_v6()), "dev", near, "nodad"]);
        ip(&["link", "set", near, "up"]);
        let inside = |arguments: &[&str]| {
            let enter = ["--target", &neighbour.holder.id().to_string(), "--net", "ip"];
            succeed(Command::new("nsenter").args(enter).args(arguments));
        };
        inside(&["addr", "add", &format!("{}/24", neighbour.address()), "dev", &far]);
        inside(&["addr", "add", &format!("{}/64", neighbour.address_v6()), "dev", &far, "nodad"]);
        inside(&["link", "set", &far, "up"]);
        neighbour
    }

    /// This machine's address on the wire.
    pub(crate) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 127, self.number, 1)
    }

    /// The other machine's.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 127, self.number, 2)
    }

    /// This machine's address on the wire.
    pub(crate) fn host_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd7e, u16::from(self.number), 0, 0, 0, 0, 0, 1)
    }

    /// The other machine's.
    pub(crate) fn address_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd7e, u16::from(self.number), 0, 0, 0, 0, 0, 2)
    }

    /// Runs something there.
    pub(crate) fn there<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        at(i32::try_from(self.holder.id()).unwrap(), f)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.wire]).stderr(Stdio::null()).status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs something with the network of a process, which may be a container's.
pub(crate) fn at<T: Send>(pid: i32, f: impl FnOnce() -> T + Send) -> T {
    let namespace = dhow_net::namespace::of_process(pid).unwrap();
    dhow_net::namespace::on_thread_within(std::os::fd::AsFd::as_fd(&namespace), || Ok(f())).unwrap()
}

fn ip(arguments: &[&str]) {
    succeed(Command::new("ip").args(arguments));
}

fn succeed(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
