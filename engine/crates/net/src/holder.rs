//! Who has a port of the host's: asked only to explain why it cannot be had.

use dhow_model::network::Protocol;
use std::path::Path;

/// The process that listens on a port: its number and its name. `None` when it cannot be found.
pub fn of_port(protocol: Protocol, port: u16) -> Option<(i32, String)> {
    let inodes: Vec<u64> = ["", "6"]
        .iter()
        .filter_map(|family| std::fs::read_to_string(format!("/proc/net/{}{family}", protocol.as_str())).ok())
        .flat_map(|table| inodes_of(&table, port, protocol == Protocol::Tcp))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<i32>() else { continue };
        if holds(&process.path(), &wanted) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

fn holds(process: &Path, wanted: &[String]) -> bool {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|link| wanted.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// Inodes of the sockets at a port: of those that listen, for TCP. Pure.
fn inodes_of(table: &str, port: u16, only_listening: bool) -> Vec<u64> {
    const LISTENING: &str = "0A";
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let listens = !only_listening || *fields.get(3)? == LISTENING;
        let here = u16::from_str_radix(local, 16).ok()? == port;
        (here && listens).then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (pid, name) = of_port(Protocol::Tcp, port).unwrap();
        assert_eq!(pid, i32::try_from(std::process::id()).unwrap());
        assert!(!name.is_empty());
        drop(listener);
        assert_eq!(of_port(Protocol::Tcp, port), None);
    }
}
