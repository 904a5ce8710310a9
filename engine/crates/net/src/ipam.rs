//! Which address is free. Pure: the database says what is taken, inside the transaction that takes it.

use dhow_model::network::{Pool, Subnet};
use dhow_model::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The next free address of a pool after `last`, from the beginning again after the end. An address that has just
/// come back is so the last to be given away: its former owner's interface may take a moment to go.
///
/// # Errors
/// `Unavailable` when there is none.
pub fn next_free(pool: &Pool, taken: &BTreeSet<IpAddr>, last: Option<IpAddr>) -> Result<IpAddr> {
    let range = pool.range.unwrap_or(pool.subnet);
    let size = range.offset_of(range.last()).saturating_add(1);
    let begin = last.filter(|last| range.contains(*last)).map_or(0, |last| range.offset_of(last) + 1);
    // One more than can be in the way: taken, auxiliary, gateway, the ends of the subnet.
    let tries = size.min(taken.len() as u128 + pool.auxiliary.len() as u128 + 4);
    let candidates = (0..tries).filter_map(|step| range.nth((begin + step) % size));
    let mut free = candidates.filter(|address| may_have(pool, *address) && !taken.contains(address));
    free.next().ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "no available IPv{} addresses on this network's address pools: {range}",
                if range.is_v6() { 6 } else { 4 }
            ),
        )
    })
}

/// The next free address of the first pool that has one.
///
/// # Errors
/// As [`next_free`], of the last pool.
pub fn first_free(pools: &[&Pool], taken: &BTreeSet<IpAddr>, last: Option<IpAddr>) -> Result<IpAddr> {
    let mut found = Err(Error::new(ErrorKind::Unavailable, "the network has no address pool"));
    for pool in pools {
        found = next_free(pool, taken, last);
        if found.is_ok() {
            break;
        }
    }
    found
}

/// Whether a container may have an address that it asks for.
///
/// # Errors
/// `InvalidArgument` when it lies outside or is someone else's; `Conflict` when it is taken.
pub fn claim(pool: &Pool, taken: &BTreeSet<IpAddr>, wanted: IpAddr) -> Result<IpAddr> {
    if !pool.subnet.contains(wanted) {
        return Err(Error::invalid(format!(
            "invalid endpoint settings: no configured subnet contains IP address {wanted}"
        )));
    }
    if taken.contains(&wanted) || !may_have(pool, wanted) {
        return Err(Error::conflict(format!("Address already in use: {wanted}")));
    }
    Ok(wanted)
}

/// Neither the subnet's own addresses, nor the host's, nor another's.
fn may_have(pool: &Pool, address: IpAddr) -> bool {
    let subnet = pool.subnet;
    let small = subnet.prefix() >= if subnet.is_v6() { 127 } else { 31 };
    let is_end = address == subnet.address() || (!subnet.is_v6() && address == subnet.last());
    (small || !is_end)
        && pool.gateway != Some(address)
        && !pool.auxiliary.values().any(|other| *other == address)
}

/// The host's address in a subnet when none is asked for: the first, of the range if there is one.
pub fn default_gateway(subnet: Subnet, auxiliary: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let small = subnet.prefix() >= if subnet.is_v6() { 127 } else { 31 };
    let first = if small { 0 } else { 1 };
    (first..first + auxiliary.len() as u128 + 1)
        .filter_map(|offset| subnet.nth(offset))
        .find(|address| !auxiliary.contains(address))
}

/// The first subnet of the pools that overlaps with nothing in use; `start` subnets are tried last.
pub fn free_subnet(pools: &[(Subnet, u8)], used: &[Subnet], v6: bool, start: usize) -> Option<Subnet> {
    let all =
        || pools.iter().filter(|(base, _)| base.is_v6() == v6).flat_map(|(base, size)| base.split(*size));
    all()
        .skip(start)
        .chain(all().take(start))
        .find(|subnet| !used.iter().any(|other| other.overlaps(*subnet)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text, true).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pool(text: &str) -> Pool {
        let subnet = subnet(text);
        Pool {
            subnet,
            range: None,
            gateway: default_gateway(subnet, &BTreeSet::new()),
            auxiliary: BTreeMap::new(),
        }
    }

    #[test]
    fn addresses_are_given_once_and_in_turn() {
        let mut pool = pool("10.0.0.0/29");
        pool.auxiliary.insert("router".into(), ip("10.0.0.4"));
        let mut taken = BTreeSet::new();
        let mut last = None;
        let mut given = Vec::new();
        while let Ok(address) = next_free(&pool, &taken, last) {
            taken.insert(address);
            last = Some(address);
            given.push(address.to_string());
        }
        assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]);
        taken.remove(&ip("10.0.0.3"));
        assert_eq!(next_free(&pool, &taken, last).unwrap(), ip("10.0.0.3"));
        taken.clear();
        assert_eq!(
            next_free(&pool, &taken, Some(ip("10.0.0.2"))).unwrap(),
            ip("10.0.0.3"),
            "not the last one again"
        );
        assert_eq!(next_free(&pool, &taken, Some(ip("10.9.0.2"))).unwrap(), ip("10.0.0.2"));
    }

    #[test]
    fn a_range_is_kept_to() {
        let mut pool = pool("10.0.0.0/16");
        pool.range = Some(subnet("10.0.7.0/30"));
        let taken = BTreeSet::from([ip("10.0.7.0"), ip("10.0.7.1")]);
        assert_eq!(next_free(&pool, &taken, None).unwrap(), ip("10.0.7.2"));
        assert_eq!(claim(&pool, &taken, ip("10.0.200.1")).unwrap(), ip("10.0.200.1"));
    }

    #[test]
    fn claims_are_checked() {
        let pool = pool("10.0.0.0/24");
        let taken = BTreeSet::from([ip("10.0.0.9")]);
        assert!(claim(&pool, &taken, ip("10.0.0.8")).is_ok());
        for bad in ["10.0.0.9", "10.0.0.1", "10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"] {
            assert!(claim(&pool, &taken, ip(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn small_and_large_subnets() {
        let none = BTreeSet::new();
        assert_eq!(next_free(&pool("10.0.0.0/31"), &none, None).unwrap(), ip("10.0.0.1"));
        assert_eq!(next_free(&pool("fd00::/64"), &none, None).unwrap(), ip("fd00::2"));
        assert_eq!(
            next_free(&pool("fd00::/64"), &none, Some(ip("fd00::ffff:ffff:ffff:ffff"))).unwrap(),
            ip("fd00::2")
        );
    }

    #[test]
    fn subnets_do_not_overlap_with_what_is_there() {
        let pools =
            [(subnet("172.16.0.0/14"), 16), (subnet("192.168.0.0/16"), 20), (subnet("fd00::/48"), 64)];
        let used = [subnet("172.16.0.0/15"), subnet("172.18.7.0/24")];
        assert_eq!(free_subnet(&pools, &used, false, 0).unwrap(), subnet("172.19.0.0/16"));
        let used = [subnet("172.16.0.0/12")];
        assert_eq!(free_subnet(&pools, &used, false, 0).unwrap(), subnet("192.168.0.0/20"));
        assert_eq!(free_subnet(&pools, &used, true, 0).unwrap(), subnet("fd00::/64"));
        assert_eq!(free_subnet(&pools, &[subnet("0.0.0.0/0")], false, 3), None);
    }
}
