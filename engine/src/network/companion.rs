//! What a monitor keeps for its container's network while it runs: the forwarder of its ports, and its name server.

use super::publish::{self, Forwarded};
use crate::container::etc;
use dhow_model::network::{Endpoint, Network};
use dhow_model::{ContainerId, Layout, Result};
use dhow_net::dns::{NameServer, Names};
use dhow_net::service::Service;
use dhow_net::{link, namespace};
use dhow_store::db::{ContainerRecord, StateDb, Txn};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

/// Servers outside are asked here.
const PORT: u16 = 53;

/// The companion of one run.
pub(crate) struct Companion {
    service: Service,
    names: KnownNames,
}

impl Companion {
    /// What a container needs: nothing, often.
    pub(crate) fn open(
        layout: &Layout,
        record: &ContainerRecord,
        taken: &[(Network, Endpoint)],
        forwarded: Vec<Forwarded>,
        namespace: BorrowedFd<'_>,
    ) -> Result<Option<Self>> {
        let resolves = taken.iter().any(|(network, _)| network.resolves_names());
        if forwarded.is_empty() && !resolves {
            return Ok(None);
        }
        let service = Service::new()?;
        let names = KnownNames { layout: layout.clone(), id: record.id.clone(), db: None };
        let mut companion = Self { service, names };
        companion.forward(forwarded)?;
        if resolves {
            companion.answer(record, namespace)?;
        }
        Ok(Some(companion))
    }

    /// Forwards further ports.
    pub(crate) fn forward(&mut self, forwarded: Vec<Forwarded>) -> Result<()> {
        forwarded.into_iter().try_for_each(|(reserved, target)| self.service.forward(reserved, target))
    }

    /// Answers for names from now on, if it does not yet.
    pub(crate) fn answer(&mut self, record: &ContainerRecord, namespace: BorrowedFd<'_>) -> Result<()> {
        if self.service.answers() {
            return Ok(());
        }
        let servers = servers(&record.config.host.dns);
        let own = namespace::own()?;
        let server = namespace::within(namespace, own.as_fd(), || {
            link::Links::open()?.loopback_up()?;
            NameServer::open(etc::NAME_SERVER, servers)
        })?;
        self.service.answer_by(server)
    }

    /// Forwards to where the default route leads through now.
    pub(crate) fn redirect(&mut self, taken: &[(Network, Endpoint)]) {
        let gateway = taken.iter().find(|(_, endpoint)| endpoint.is_gateway);
        if let Some(target) = gateway.and_then(|(_, endpoint)| publish::forward_target(endpoint)) {
            self.service.redirect(target);
        }
    }

    /// Readable when there is something to do.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.service.fd()
    }

    /// Does it.
    pub(crate) fn attend(&mut self) {
        self.service.attend(&mut self.names);
    }
}

/// Who is asked for what is not ours: the container's own servers, or the host's. They are asked from the host, so one
/// on its loopback will do.
fn servers(own: &[String]) -> Vec<SocketAddr> {
    let given: Vec<IpAddr> = own.iter().filter_map(|text| text.parse().ok()).collect();
    let list = if given.is_empty() {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        etc::name_servers(&text).collect()
    } else {
        given
    };
    list.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect()
}

/// The names on a container's networks, as the database has them now. The connection is kept while there are questions.
struct KnownNames {
    layout: Layout,
    id: ContainerId,
    db: Option<StateDb>,
}

impl KnownNames {
    fn read<T>(&mut self, f: impl FnOnce(&Txn<'_>, &[(Network, Endpoint)]) -> Result<T>) -> Result<T> {
        if self.db.is_none() {
            self.db = Some(StateDb::open(&self.layout)?);
        }
        let db = self.db.as_mut().ok_or_else(|| dhow_model::Error::internal("no database"))?;
        db.read(|txn| {
            let mut places = Vec::new();
            for endpoint in txn.endpoints_of(&self.id)? {
                if let Some(network) = txn.network(&endpoint.network)? {
                    places.push((network, endpoint));
                }
            }
            f(txn, &places)
        })
    }
}

impl Names for KnownNames {
    fn addresses(&mut self, name: &str, v6: bool) -> Option<Vec<IpAddr>> {
        self.read(|txn, places| {
            let mut found = Vec::new();
            for (network, own) in places.iter().filter(|(network, _)| network.resolves_names()) {
                let linked = own.links.iter().find(|(_, alias)| alias.eq_ignore_ascii_case(name));
                let name = linked.map_or(name, |(other, _)| other.as_str());
                let mut endpoints = txn.endpoints_named(&network.id, name)?;
                // `NAME.NETWORK` is the same.
                let suffix = format!(".{}", network.name.to_ascii_lowercase());
                if let Some(short) =
                    name.to_ascii_lowercase().strip_suffix(&suffix).filter(|_| endpoints.is_empty())
                {
                    endpoints = txn.endpoints_named(&network.id, short)?;
                }
                found.extend(endpoints);
            }
            if found.is_empty() {
                return Ok(None);
            }
            let of = |e: &Endpoint| if v6 { e.ipv6.map(IpAddr::V6) } else { e.ipv4.map(IpAddr::V4) };
            Ok(Some(found.iter().filter_map(of).collect()))
        })
        .ok()
        .flatten()
    }

    fn name_of(&mut self, address: IpAddr) -> Option<String> {
        self.read(|txn, places| {
            let holds =
                |n: &Network| n.resolves_names() && n.config.pools.iter().any(|p| p.subnet.contains(address));
            for (network, _) in places.iter().filter(|(network, _)| holds(network)) {
                let has = |e: &Endpoint| {
                    e.ipv4.map(IpAddr::V4) == Some(address) || e.ipv6.map(IpAddr::V6) == Some(address)
                };
                let Some(endpoint) = txn.endpoints_on(&network.id)?.into_iter().find(has) else { continue };
                let name = txn.container(&endpoint.container)?.map(|record| record.name);
                return Ok(name.map(|name| format!("{name}.{}", network.name)));
            }
            Ok(None)
        })
        .ok()
        .flatten()
    }

    fn may_forward(&mut self) -> bool {
        self.read(|_, places| Ok(places.iter().any(|(network, _)| !network.config.internal))).unwrap_or(false)
    }

    fn rest(&mut self) {
        self.db = None;
        dhow_sys::memory::trim_heap();
    }
}
