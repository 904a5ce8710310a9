//! Whether the kernel still has what the database says of networks: another program's reload of the firewall takes
//! every table away, ours too.

use super::{carrier, forwarding, list};
use crate::Engine;
use dhow_model::Result;
use dhow_net::link::Links;

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The table or the network.
    pub(crate) subject: String,
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// Whether writing the table anew mends it.
    pub(crate) is_table: bool,
}

/// Looks at the table, and at the bridges that containers are on.
pub(crate) fn find(engine: &Engine) -> Result<Vec<Fault>> {
    let mut db = engine.db()?;
    let (networks, used) = db.read(|txn| {
        let used: std::collections::BTreeSet<_> = txn.endpoints()?.into_iter().map(|e| e.network).collect();
        Ok((txn.networks()?, used))
    })?;
    let links = Links::open()?;
    let mut faults = Vec::new();
    let mut needs_table = forwarding::load(engine.layout())?.any();
    for network in networks.iter().filter(|network| list::has_bridge(network)) {
        let is_there = links.index(&network.config.interface)?.is_some();
        needs_table = needs_table || is_there;
        if !is_there && used.contains(&network.id) {
            let subject = network.name.clone();
            faults.push(Fault {
                subject,
                what: "its bridge is gone: restart its containers",
                is_table: false,
            });
        }
    }
    let table = carrier::table(&mut db)?;
    if needs_table && !table.exists()? {
        let subject = table.name().to_owned();
        faults.push(Fault {
            subject,
            what: "the firewall's table is gone: ports and isolation are, too",
            is_table: true,
        });
    } else if needs_table && !table.is_whole()? {
        let subject = table.name().to_owned();
        faults.push(Fault { subject, what: "rules of the firewall's table are gone", is_table: true });
    } else if needs_table && !carrier::has_elements(engine.layout(), &mut db, &links, &table)? {
        let subject = table.name().to_owned();
        faults.push(Fault {
            subject,
            what: "elements of the firewall's sets are gone: ports or isolation are, too",
            is_table: true,
        });
    }
    Ok(faults)
}

/// Writes the table anew.
pub(crate) fn repair(engine: &Engine) -> Result<()> {
    carrier::refresh(engine.layout(), &mut *engine.db()?, &Links::open()?)
}
