//! What makes networks of a machine's links, addresses and firewall tables.
//!
//! ```text
//!   verbs ──► wire (links, addresses, routes) ──┐
//!         ──► nft (one table: chains, sets, maps)├──► netlink: one sendmsg for each batch
//!         ──► conntrack (connections that lead to what has moved)
//!         ──► ipam (which address is free; pure) ┘
//!   monitor ─► service: dns (127.0.0.11 inside the container), forward (what the table cannot redirect)
//! ```
//!
//! It knows no database and no container: it is told what to make, and hands back what it made. Nothing here
//! starts a thread that lives on, and all waiting is bounded, because most of it runs in the monitor.
//!
//! Messages are encoded here, not by `netlink-packet-route`: nftables needs an encoder of nested attributes of its
//! own, which the dozen messages about links need nothing beside.

#![forbid(unsafe_code)]

pub mod conntrack;
pub mod dns;
pub mod forward;
pub mod holder;
pub mod ipam;
pub mod link;
pub mod namespace;
mod netlink;
pub mod nft;

pub mod service;
pub mod wire;
