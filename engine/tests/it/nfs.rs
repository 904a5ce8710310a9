//! A volume of another machine's, by NFS: the kernel's own server, in a network namespace of the test's.

use crate::lan::{HOST, Lan, NEIGHBOUR};
use crate::sandbox::{Sandbox, eventually};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server, in the neighbour's namespace: it ends with the mount of nfsd's own filesystem, which this holds.
struct Server(Child);

impl Server {
    /// What exportfs, rpc.mountd and rpc.nfsd(8) write, by hand (Documentation/filesystems/nfs/rpc-cache.rst): one
    /// client, one export, which is the root of what version 4 shows. Clients of a life before are waited for as
    /// briefly as can be said.
    fn new(lan: &Lan, export: &Path) -> Self {
        let forever = i32::MAX;
        let export = export.display();
        let script = format!(
            "set -e; write() {{ echo \"$2\" >\"$1\"; }}
             ip link set lo up
             mount -t nfsd nfsd /proc/fs/nfsd
             cd /proc/net/rpc
             write auth.unix.ip/channel 'nfsd {HOST} {forever} clients'
             write nfsd.fh/channel 'clients 1 \\x00000000 {forever} {export}'
             write nfsd.export/channel 'clients {export} {forever} {FLAGS} 65534 65534 0'
             cd /proc/fs/nfsd
             write versions '-2 -3 +4 +4.2'
             write nfsv4leasetime 10
             write nfsv4gracetime 10
             write portlist 'tcp 2049'
             write threads 2
             exec sleep 1000"
        );
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", lan.neighbour.path()));
        command.args(["unshare", "--mount", "bash", "-c", &script]).stdin(Stdio::null());
        let mut server = Self(command.spawn().unwrap());
        let at = format!("{NEIGHBOUR}:2049").parse().unwrap();
        eventually("the server listens", || {
            assert_eq!(server.0.try_wait().unwrap(), None, "it could not be set up");
            lan.host.within(move || TcpStream::connect_timeout(&at, PATIENCE).is_ok()).join().unwrap()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// linux/nfsd/export.h: NFSEXP_INSECURE_PORT, NFSEXP_NOSUBTREECHECK, NFSEXP_FSID; root stays root.
const FLAGS: u32 = 0x2 | 0x400 | 0x2000;
/// The neighbour answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_volume_of_another_machine() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| lan.host.run(&sandbox.command(arguments));
    let create = |name: &str, address: &str| {
        let options = format!("o=addr={address},vers=4.2,rw,soft,timeo=50");
        let head = ["volume", "create", "--driver", "local", "-o", "type=nfs", "-o", "device=:/", "-o"];
        dhow(&[&head[..], &[&options, name]].concat()).ok();
    };
    create("far", NEIGHBOUR);
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    let has = |kind: &str| known.lines().any(|line| line.split_whitespace().last() == Some(kind));
    if !has("nfs4") || !has("nfsd") {
        // Such a kernel says so when somebody wants to use it.
        let refused = dhow(&["run", "--rm", "-v", "far:/v", "busybox", "true"]);
        assert!(refused.code != 0 && refused.stderr.contains("volumes/far"), "{refused:?}");
        assert!(!has("nfs") && refused.stderr.contains("no such device"), "{refused:?}");
        return;
    }
    let export = sandbox.path("export");
    std::fs::create_dir(&export).unwrap();
    std::fs::write(export.join("there"), "before\n").unwrap();
    let server = Server::new(&lan, &export);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let script = "cat /v/there; echo written > /v/new; chown 7:8 /v/new; grep ' /v ' /proc/mounts";
    let seen = dhow(&["run", "--rm", "-v", "far:/v", "busybox", "sh", "-c", script]).ok();
    assert!(seen.starts_with("before") && seen.contains(" /v nfs4 "), "{seen}");
    assert_eq!(std::fs::read_to_string(export.join("new")).unwrap(), "written\n");
    let owner = std::fs::metadata(export.join("new")).unwrap();
    assert_eq!(
        (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner)),
        (7, 8)
    );
    // Two users share it, and the host's own table never has it.
    for name in ["one", "two"] {
        dhow(&["run", "-d", "--name", name, "-v", "far:/v", "busybox", "sleep", "1000"]).ok();
    }
    sandbox.ok(["exec", "one", "sh", "-c", "echo shared > /v/file"]);
    assert_eq!(sandbox.ok(["exec", "two", "cat", "/v/file"]), "shared");
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), table);
    dhow(&["rm", "-f", "one", "two"]).ok();
    // A machine that nobody is.
    create("nobody", "192.0.2.77");
    let refused = dhow(&["run", "--rm", "-v", "nobody:/v", "busybox", "true"]);
    assert!(refused.code != 0 && refused.stderr.contains("error while mounting volume"), "{refused:?}");
    drop(server);
}
