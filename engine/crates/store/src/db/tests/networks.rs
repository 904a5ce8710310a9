//! Networks, leases, published ports.

use super::*;
use dhow_model::network::{Driver, Endpoint, Network, NetworkConfig, Protocol, Published};

fn network(name: &str, n: u64) -> Network {
    let config = NetworkConfig {
        driver: Driver::Bridge,
        pools: vec![],
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        interface: String::new(),
        options: BTreeMap::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    Network { id: id_of(n), name: name.into(), created: Timestamp(i64::MAX), config }
}

fn endpoint(container: &ContainerId, network: &ContainerId, last: u8) -> Endpoint {
    Endpoint {
        container: container.clone(),
        network: network.clone(),
        id: id_of(u64::from(last)),
        ipv4: Some([10, 0, 0, last].into()),
        ipv6: Some(format!("fd00::{last}").parse().unwrap()),
        mac: None,
        interface: "eth0".into(),
        host_interface: "veth".into(),
        names: vec!["web".into(), format!("n{last}")],
        links: vec![],
        is_gateway: true,
    }
}

#[test]
fn three_networks_are_always_there() {
    let (_dir, _layout, mut db) = opened();
    let names = |db: &mut StateDb| {
        let list = db.read(|txn| txn.networks()).unwrap();
        list.into_iter().map(|n| (n.name, n.config.driver.as_str())).collect::<Vec<_>>()
    };
    let three = [("bridge", "bridge"), ("host", "host"), ("none", "null")];
    assert_eq!(names(&mut db), three.map(|(n, d)| (n.to_owned(), d)));
    db.write(|txn| txn.insert_network(&network("mine", 1))).unwrap();
    let error = db.write(|txn| txn.insert_network(&network("mine", 2))).unwrap_err();
    assert_eq!(error.to_string(), "network with name mine already exists");
    let find = |db: &mut StateDb, who: &str| db.read(|txn| txn.find_network(who)).map(|n| n.name);
    assert_eq!(find(&mut db, "mine").unwrap(), "mine");
    assert_eq!(find(&mut db, id_of(1).as_str()).unwrap(), "mine");
    assert_eq!(find(&mut db, &id_of(1).as_str()[..17]).unwrap(), "mine");
    assert_eq!(find(&mut db, "other").unwrap_err().to_string(), "network other not found");
    assert!(db.write(|txn| txn.delete_network(&id_of(1))).unwrap());
    assert_eq!(names(&mut db).len(), 3);
}

#[test]
fn an_address_is_leased_once_and_comes_back_with_its_container() {
    let (_dir, _layout, mut db) = opened();
    let (a, b) = (record(1, "a"), record(2, "b"));
    let net = network("net", 9);
    db.write(|txn| {
        txn.insert_image(&image(1, &[]))?;
        txn.insert_network(&net)?;
        txn.insert_container(&a)?;
        txn.insert_container(&b)?;
        txn.insert_endpoint(&endpoint(&a.id, &net.id, 2))
    })
    .unwrap();
    let mut twice = endpoint(&b.id, &net.id, 2);
    twice.ipv6 = None;
    assert_eq!(db.write(|txn| txn.insert_endpoint(&twice)).unwrap_err().kind(), ErrorKind::Conflict);
    db.write(|txn| txn.insert_endpoint(&endpoint(&b.id, &net.id, 3))).unwrap();
    db.read(|txn| {
        assert_eq!(txn.leased(&net.id, false)?.len(), 2);
        assert_eq!(txn.last_leased(&net.id, false)?, Some("10.0.0.3".parse().unwrap()));
        assert_eq!(txn.last_leased(&net.id, true)?, Some("fd00::3".parse().unwrap()));
        assert_eq!(txn.endpoints_of(&a.id)?, [endpoint(&a.id, &net.id, 2)]);
        let named = |name: &str| txn.endpoints_named(&net.id, name).map(|l| l.len()).unwrap();
        let found = ["a", "A", "web", "n2", "N3", "eth0", "c", "we"].map(named);
        assert_eq!(found, [1, 1, 2, 1, 1, 0, 0, 0]);
        Ok(())
    })
    .unwrap();
    assert_eq!(db.write(|txn| txn.delete_network(&net.id)).unwrap_err().kind(), ErrorKind::Conflict);
    db.write(|txn| txn.delete_container(&a.id)).unwrap();
    assert_eq!(db.read(|txn| txn.leased(&net.id, true)).unwrap().len(), 1);
    db.write(|txn| txn.delete_endpoints(&b.id, None)).unwrap();
    assert!(db.write(|txn| txn.delete_network(&net.id)).unwrap());
}

#[test]
fn a_port_is_published_once() {
    let (_dir, _layout, mut db) = opened();
    let (a, b) = (record(1, "a"), record(2, "b"));
    let port = |of: &ContainerRecord, ip: &str, host_port| Published {
        container: of.id.clone(),
        port: 80,
        protocol: Protocol::Tcp,
        host_ip: ip.parse().unwrap(),
        host_port,
        target: Some("10.0.0.2".parse().unwrap()),
    };
    db.write(|txn| {
        txn.insert_image(&image(1, &[]))?;
        txn.insert_container(&a)?;
        txn.insert_container(&b)?;
        txn.insert_published(&port(&a, "0.0.0.0", 8080))?;
        txn.insert_published(&port(&a, "::", 8080))?;
        txn.insert_published(&port(&b, "127.0.0.1", 8081))
    })
    .unwrap();
    let error = db.write(|txn| txn.insert_published(&port(&b, "127.0.0.1", 8080))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Bind for 127.0.0.1:8080 failed: port is already allocated (by container a)"
    );
    assert_eq!(db.read(|txn| txn.published_by(&a.id)).unwrap().len(), 2);
    db.write(|txn| txn.delete_published(&a.id)).unwrap();
    db.write(|txn| txn.insert_published(&port(&b, "127.0.0.1", 8080))).unwrap();
    assert_eq!(db.read(|txn| txn.published()).unwrap().len(), 2);
}
