//! Whether the machine passes packets on (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`) for our sake alone.
//!
//! Containers reach the world by it. A machine that did not pass packets on before must not become a router between its
//! other networks: what is neither from nor to a bridge of ours is dropped then, as Docker's policy does, and only then.
//! `STATE/forwarding` says what this engine switched on: first the boot and the network namespace that it is true of, then
//! a family on each line. It is written, and the firewall's table with it, before the switch is turned, under the lock
//! on bridges; it outlives all processes, and all networks, because the switch stays on. A machine that is to be a router
//! has the switch turned by its own settings (sysctl.d), and then nothing is written here.

use dhow_model::network::Network;
use dhow_model::{ErrorKind, Layout, Result, ResultExt};
use dhow_net::link;
use dhow_net::nft::Families;
use std::path::PathBuf;

fn path(layout: &Layout) -> PathBuf {
    layout.state().join("forwarding")
}

/// This boot and this network namespace.
fn place() -> Result<String> {
    let namespace = "/proc/thread-self/ns/net";
    let link = std::fs::read_link(namespace).context(|| format!("read {namespace}"))?;
    Ok(format!("{} {}", dhow_runtime::timeline::boot_id()?, link.display()))
}

/// What this engine switched on since the boot.
///
/// # Errors
/// When the record cannot be read.
pub(super) fn load(layout: &Layout) -> Result<Families> {
    let path = path(layout);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Families::default()),
        text => text.context(|| format!("read {}", path.display()))?,
    };
    let mut lines = text.lines();
    if lines.next() != Some(place()?.as_str()) {
        return Ok(Families::default());
    }
    let mut found = Families::default();
    for line in lines {
        found.v4 |= line == "ipv4";
        found.v6 |= line == "ipv6";
    }
    Ok(found)
}

/// What a network needs and the machine does not do yet.
///
/// # Errors
/// When the switch cannot be read.
pub(super) fn missing(network: &Network) -> Result<Families> {
    let config = &network.config;
    let needs = |v6| !config.internal && config.pools_of(v6).any(|pool| pool.gateway.is_some());
    let lacks = |v6| Ok::<_, dhow_model::Error>(needs(v6) && !link::is_forwarding(v6)?);
    Ok(Families { v4: lacks(false)?, v6: lacks(true)? })
}

/// Records what is about to be switched on.
///
/// # Errors
/// When the record cannot be written.
pub(super) fn save(layout: &Layout, families: Families) -> Result<()> {
    let path = path(layout);
    let what = || format!("write {}", path.display());
    let mut text = place()? + "\n";
    text += if families.v4 { "ipv4\n" } else { "" };
    text += if families.v6 { "ipv6\n" } else { "" };
    let new = path.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &path))
        .context_kind(ErrorKind::Internal, what)
}

/// Turns the switches.
///
/// # Errors
/// When they cannot be turned.
pub(super) fn switch_on(families: Families) -> Result<()> {
    if families.v4 {
        link::forward(false)?;
    }
    if families.v6 {
        link::forward(true)?;
    }
    Ok(())
}
