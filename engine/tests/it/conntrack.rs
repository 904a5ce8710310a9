//! A sender that never pauses: its packets go where the port leads to now, not where it led at their first.

use crate::lan::{HOST, Lan, NEIGHBOUR};
use crate::sandbox::{Sandbox, eventually};
use std::fs::File;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends to a port of the first machine's, always from the same port, until it is dropped.
struct Sender {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sender {
    fn start(lan: &Lan, port: u16) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = lan.neighbour.within(move || {
            let socket = UdpSocket::bind((NEIGHBOUR, 26001)).unwrap();
            while !seen.load(Ordering::Relaxed) {
                // Refused while nobody listens.
                let _ = socket.send_to(b"x", (HOST, port));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the container is reached: a socket of its network hears the sender, by its own address.
fn is_reached(sandbox: &Sandbox) -> bool {
    let namespace = File::open(format!("/proc/{}/ns/net", sandbox.pid("box"))).unwrap();
    let listener = std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:9999").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.recv_from(&mut [0; 16]).is_ok_and(|(_, from)| from.to_string() == format!("{NEIGHBOUR}:26001"))
    });
    listener.join().unwrap()
}

#[test]
fn a_steady_sender_reaches_a_container_that_came_later_by_its_own_address() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let sender = Sender::start(&lan, 17778);
    std::thread::sleep(Duration::from_millis(200));
    let dhow = |arguments: &[&str]| lan.host.run(&sandbox.command(arguments)).ok();
    // Connections are tracked as soon as there is a table.
    dhow(&["network", "create", "aaa"]);
    std::thread::sleep(Duration::from_millis(200));
    dhow(&["run", "-d", "--init", "--name", "box", "-p", "17778:9999/udp", "busybox", "sleep", "1000"]);
    eventually("its packets are redirected, and not passed on by the host", || is_reached(&sandbox));
    // The address changes with each start; the sender does not notice.
    for _ in 0..2 {
        dhow(&["restart", "-t", "0", "box"]);
        eventually("the restarted container is reached", || is_reached(&sandbox));
    }
    // The same where the port moves with the default route.
    dhow(&["network", "connect", "aaa", "box"]);
    eventually("it is reached by its first network", || is_reached(&sandbox));
    dhow(&["network", "disconnect", "bridge", "box"]);
    eventually("it is reached by its other network", || is_reached(&sandbox));
    drop(sender);
}
