//! Networks, the addresses that containers lease from them, and the ports that they publish.
//!
//! A lease is a row of `endpoints`: it is there from before its interface is made until after the run has ended. Two
//! rows of a network cannot have the same address, whatever the caller does: the table forbids it.

use super::containers::id_at;
use super::error::{is_foreign_key, is_unique};
use super::{Txn, column, json_column, text_column, to_json};
use dhow_model::network::{Endpoint, Mac, Network, NetworkConfig, Protocol, Published};
use dhow_model::{ContainerId, Error, ErrorKind, Result, ResultExt, Timestamp};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NETWORK: &str = "SELECT id, name, created, config FROM networks";
const ENDPOINT: &str = "SELECT container, network, ipv4, ipv6, about FROM endpoints";
const PUBLISHED: &str = "SELECT container, port, protocol, host_ip, host_port, target FROM published_ports";

/// What of an endpoint is only read whole.
#[derive(Serialize, Deserialize)]
struct About {
    id: ContainerId,
    mac: Option<Mac>,
    interface: String,
    host_interface: String,
    names: Vec<String>,
    links: Vec<(String, String)>,
    is_gateway: bool,
}

impl Txn<'_> {
    /// Adds a network.
    ///
    /// # Errors
    /// `Conflict` in Docker's words when the name is taken.
    pub fn insert_network(&self, network: &Network) -> Result<()> {
        let what = || format!("add network {}", network.name);
        self.change(
            what,
            "INSERT INTO networks (id, name, created, config) VALUES (?1, ?2, ?3, ?4)",
            params![network.id.as_str(), network.name, network.created.0, to_json(&network.config)?],
        )
        .map(drop)
        .map_err(|error| match is_unique(&error) {
            true => Error::conflict(format!("network with name {} already exists", network.name)),
            false => error,
        })
    }

    /// Changes what a network is.
    ///
    /// # Errors
    /// What the database says.
    pub fn update_network(&self, id: &ContainerId, config: &NetworkConfig) -> Result<()> {
        self.change(
            || format!("change network {id}"),
            "UPDATE networks SET config = ?2 WHERE id = ?1",
            params![id.as_str(), to_json(config)?],
        )
        .map(drop)
    }

    /// One network.
    ///
    /// # Errors
    /// What the database says.
    pub fn network(&self, id: &ContainerId) -> Result<Option<Network>> {
        self.row(
            || format!("read network {id}"),
            &format!("{NETWORK} WHERE id = ?1"),
            [id.as_str()],
            network_at,
        )
    }

    /// The network that a user means: by full id, by name, or by the beginning of its id, in this order.
    ///
    /// # Errors
    /// `NotFound` in Docker's words; `InvalidArgument` when several ids begin so.
    pub fn find_network(&self, who: &str) -> Result<Network> {
        let what = || format!("look for network {who:?}");
        let exact = format!("{NETWORK} WHERE id = ?1 UNION ALL {NETWORK} WHERE name = ?1 LIMIT 1");
        if let Some(found) = self.row(what, &exact, [who], network_at)? {
            return Ok(found);
        }
        let missing = || Error::not_found(format!("network {who} not found"));
        if who.is_empty() || !who.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return Err(missing());
        }
        let by_prefix = format!("{NETWORK} WHERE id >= ?1 AND id < ?2 LIMIT 2");
        let mut found = self.rows(what, &by_prefix, [who, &super::prefix_end(who)], network_at)?;
        match found.len() {
            0 => Err(missing()),
            1 => found.pop().ok_or_else(missing),
            _ => Err(Error::invalid(format!(
                "network {who} is ambiguous (2 matches found based on ID prefix)"
            ))),
        }
    }

    /// All networks, the oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn networks(&self) -> Result<Vec<Network>> {
        self.rows(|| "list networks".to_owned(), &format!("{NETWORK} ORDER BY created, name"), [], network_at)
    }

    /// Forgets a network. Returns whether it was there.
    ///
    /// # Errors
    /// `Conflict` while a container is on it.
    pub fn delete_network(&self, id: &ContainerId) -> Result<bool> {
        self.change(|| format!("delete network {id}"), "DELETE FROM networks WHERE id = ?1", [id.as_str()])
            .map(|changed| changed > 0)
            .map_err(|error| match is_foreign_key(&error) {
                true => Error::conflict(format!("network {id} has active endpoints")),
                false => error,
            })
    }

    /// The addresses of a family that are leased on a network.
    ///
    /// # Errors
    /// What the database says.
    pub fn leased(&self, network: &ContainerId, v6: bool) -> Result<BTreeSet<IpAddr>> {
        let what = || format!("list the addresses of network {network}");
        let found = if v6 {
            let sql = "SELECT ipv6 FROM endpoints WHERE network = ?1 AND ipv6 IS NOT NULL";
            self.rows(what, sql, [network.as_str()], |row| Ok(ipv6_at(row, 0)?.map(IpAddr::V6)))?
        } else {
            let sql = "SELECT ipv4 FROM endpoints WHERE network = ?1 AND ipv4 IS NOT NULL";
            self.rows(what, sql, [network.as_str()], |row| Ok(ipv4_at(row, 0)?.map(IpAddr::V4)))?
        };
        Ok(found.into_iter().flatten().collect())
    }

    /// The address of a family that was leased last, whether it came back or not.
    ///
    /// # Errors
    /// What the database says.
    pub fn last_leased(&self, network: &ContainerId, v6: bool) -> Result<Option<IpAddr>> {
        let sql = if v6 {
            "SELECT last6 FROM networks WHERE id = ?1"
        } else {
            "SELECT last4 FROM networks WHERE id = ?1"
        };
        let what = || format!("read the last address of network {network}");
        let text: Option<Option<String>> = self.row(what, sql, [network.as_str()], |row| column(row, 0))?;
        Ok(text.flatten().and_then(|text| text.parse().ok()))
    }

    /// Adds an endpoint: the lease of its addresses.
    ///
    /// # Errors
    /// `Conflict` when an address is taken, or the container is on the network already.
    pub fn insert_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let what = || format!("lease an address on network {}", endpoint.network);
        let about = About {
            id: endpoint.id.clone(),
            mac: endpoint.mac,
            interface: endpoint.interface.clone(),
            host_interface: endpoint.host_interface.clone(),
            names: endpoint.names.clone(),
            links: endpoint.links.clone(),
            is_gateway: endpoint.is_gateway,
        };
        self.change(
            what,
            "INSERT INTO endpoints (container, network, ipv4, ipv6, about) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                endpoint.container.as_str(),
                endpoint.network.as_str(),
                endpoint.ipv4.map(u32::from),
                endpoint.ipv6.map(|a| a.octets().to_vec()),
                to_json(&about)?
            ],
        )
        .map_err(|error| match is_unique(&error) {
            true => Error::conflict(format!("{}: Address already in use", what())),
            false => error,
        })?;
        self.change(
            what,
            "UPDATE networks SET last4 = coalesce(?2, last4), last6 = coalesce(?3, last6) WHERE id = ?1",
            params![
                endpoint.network.as_str(),
                endpoint.ipv4.map(|a| a.to_string()),
                endpoint.ipv6.map(|a| a.to_string())
            ],
        )
        .map(drop)
    }

    /// The endpoints of a container, in the order of their interfaces' names.
    ///
    /// # Errors
    /// What the database says.
    pub fn endpoints_of(&self, container: &ContainerId) -> Result<Vec<Endpoint>> {
        let sql = format!("{ENDPOINT} WHERE container = ?1");
        let mut found = self.rows(
            || format!("list the networks of container {container}"),
            &sql,
            [container.as_str()],
            endpoint_at,
        )?;
        found.sort_by(|a, b| (a.interface.len(), &a.interface).cmp(&(b.interface.len(), &b.interface)));
        Ok(found)
    }

    /// All endpoints.
    ///
    /// # Errors
    /// What the database says.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.rows(|| "list endpoints".to_owned(), &format!("{ENDPOINT} ORDER BY container"), [], endpoint_at)
    }

    /// The endpoints on a network.
    ///
    /// # Errors
    /// What the database says.
    pub fn endpoints_on(&self, network: &ContainerId) -> Result<Vec<Endpoint>> {
        let sql = format!("{ENDPOINT} WHERE network = ?1 ORDER BY container");
        self.rows(
            || format!("list the containers on network {network}"),
            &sql,
            [network.as_str()],
            endpoint_at,
        )
    }

    /// The endpoints on a network that a name leads to: the name of the container, or one of the endpoint's own.
    ///
    /// # Errors
    /// What the database says.
    pub fn endpoints_named(&self, network: &ContainerId, name: &str) -> Result<Vec<Endpoint>> {
        let sql = "SELECT container, network, ipv4, ipv6, about, name FROM endpoints JOIN containers ON id = container \
                   WHERE network = ?1 AND (name = ?2 COLLATE NOCASE OR instr(lower(about), json_quote(lower(?2))) > 0) \
                   ORDER BY container";
        let found = self.rows(
            || format!("look for {name:?} on network {network}"),
            sql,
            [network.as_str(), name],
            |row| Ok((endpoint_at(row)?, column::<String>(row, 5)?)),
        )?;
        let called = |endpoint: &Endpoint, own: &str| {
            own.eq_ignore_ascii_case(name) || endpoint.names.iter().any(|n| n.eq_ignore_ascii_case(name))
        };
        Ok(found.into_iter().filter(|(e, own)| called(e, own)).map(|(e, _)| e).collect())
    }

    /// Gives the addresses of a container back: of one network, or of all.
    ///
    /// # Errors
    /// What the database says.
    pub fn delete_endpoints(&self, container: &ContainerId, network: Option<&ContainerId>) -> Result<usize> {
        self.change(
            || format!("release the addresses of container {container}"),
            "DELETE FROM endpoints WHERE container = ?1 AND (?2 IS NULL OR network = ?2)",
            params![container.as_str(), network.map(ContainerId::as_str)],
        )
    }

    /// Publishes a port.
    ///
    /// # Errors
    /// `Conflict` in Docker's words, with the name of the container that has it.
    pub fn insert_published(&self, port: &Published) -> Result<()> {
        let same = format!("{PUBLISHED} WHERE protocol = ?1 AND host_port = ?2");
        let what = || format!("publish port {}/{}", port.host_port, port.protocol.as_str());
        let others = self.rows(what, &same, params![port.protocol.as_str(), port.host_port], published_at)?;
        if let Some(other) = others.iter().find(|other| other.collides(port)) {
            let name =
                self.container(&other.container)?.map_or_else(|| other.container.to_string(), |r| r.name);
            let at = std::net::SocketAddr::new(port.host_ip, port.host_port);
            return Err(Error::conflict(format!(
                "Bind for {at} failed: port is already allocated (by container {name})"
            )));
        }
        self.change(
            what,
            "INSERT INTO published_ports (container, port, protocol, host_ip, host_port, target) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                port.container.as_str(),
                port.port,
                port.protocol.as_str(),
                port.host_ip.to_string(),
                port.host_port,
                port.target.map(|t| t.to_string())
            ],
        )
        .map(drop)
    }

    /// The ports that a container publishes now.
    ///
    /// # Errors
    /// What the database says.
    pub fn published_by(&self, container: &ContainerId) -> Result<Vec<Published>> {
        let sql = format!("{PUBLISHED} WHERE container = ?1 ORDER BY port, protocol, host_ip, host_port");
        self.rows(
            || format!("list the ports of container {container}"),
            &sql,
            [container.as_str()],
            published_at,
        )
    }

    /// All ports that are published now.
    ///
    /// # Errors
    /// What the database says.
    pub fn published(&self) -> Result<Vec<Published>> {
        let sql = format!("{PUBLISHED} ORDER BY container, port, protocol, host_ip, host_port");
        self.rows(|| "list published ports".to_owned(), &sql, [], published_at)
    }

    /// Publishes none of a container's ports any more.
    ///
    /// # Errors
    /// What the database says.
    pub fn delete_published(&self, container: &ContainerId) -> Result<usize> {
        self.change(
            || format!("withdraw the ports of container {container}"),
            "DELETE FROM published_ports WHERE container = ?1",
            [container.as_str()],
        )
    }
}

fn network_at(row: &Row<'_>) -> Result<Network> {
    Ok(Network {
        id: id_at(row, 0)?,
        name: column(row, 1)?,
        created: Timestamp(column(row, 2)?),
        config: json_column(row, 3)?,
    })
}

fn endpoint_at(row: &Row<'_>) -> Result<Endpoint> {
    let about: About = json_column(row, 4)?;
    Ok(Endpoint {
        container: id_at(row, 0)?,
        network: id_at(row, 1)?,
        id: about.id,
        ipv4: ipv4_at(row, 2)?,
        ipv6: ipv6_at(row, 3)?,
        mac: about.mac,
        interface: about.interface,
        host_interface: about.host_interface,
        names: about.names,
        links: about.links,
        is_gateway: about.is_gateway,
    })
}

fn published_at(row: &Row<'_>) -> Result<Published> {
    let ip = |text: &str| text.parse::<IpAddr>().context_kind(ErrorKind::Corrupt, || text.to_owned());
    let target: Option<String> = column(row, 5)?;
    Ok(Published {
        container: id_at(row, 0)?,
        port: column(row, 1)?,
        protocol: text_column(row, 2, Protocol::parse)?,
        host_ip: text_column(row, 3, ip)?,
        host_port: column(row, 4)?,
        target: target.as_deref().map(ip).transpose()?,
    })
}

fn ipv4_at(row: &Row<'_>, index: usize) -> Result<Option<Ipv4Addr>> {
    Ok(column::<Option<u32>>(row, index)?.map(Ipv4Addr::from))
}

fn ipv6_at(row: &Row<'_>, index: usize) -> Result<Option<Ipv6Addr>> {
    let bytes: Option<Vec<u8>> = column(row, index)?;
    let parse = |bytes: Vec<u8>| {
        <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).map_err(|_| Error::corrupt(format!("column {index}")))
    };
    bytes.map(parse).transpose()
}
