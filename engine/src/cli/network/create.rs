//! `dhow network create`: makes a network and prints its id.

use super::CLUSTER;
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::spec::env::parse_label;
use clap::Parser;
use dhow_model::network::Subnet;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Create a network
#[derive(Debug, Parser)]
#[command(name = "dhow network create")]
pub(crate) struct Args {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long)]
    aux_address: Vec<String>,
    /// Driver to manage the Network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long)]
    gateway: Vec<IpAddr>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long)]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long)]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_parser = parse_label)]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    opt: Vec<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long)]
    subnet: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
}

pub(crate) const RULES: Rules = Rules {
    stop_at_first: false,
    refused: &[
        ("--config-from", CLUSTER),
        ("--config-only", CLUSTER),
        ("--ingress", CLUSTER),
        ("--scope", CLUSTER),
    ],
};

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let pairs = |list: &[String]| -> Value {
        let pair = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), Value::from(value))
        };
        list.iter().map(pair).collect::<Map<_, _>>().into()
    };
    let mut body = json!({
        "Name": args.network,
        "Driver": args.driver,
        "Internal": args.internal,
        "Attachable": args.attachable,
        "IPAM": {"Driver": args.ipam_driver, "Options": pairs(&args.ipam_opt), "Config": pools(&args)?},
        "Options": pairs(&args.opt),
        "Labels": pairs(&args.label),
    });
    if let Some(ipv4) = args.ipv4 {
        body["EnableIPv4"] = ipv4.into();
    }
    if let Some(ipv6) = args.ipv6 {
        body["EnableIPv6"] = ipv6.into();
    }
    let made: Value = context.client().await?.post_json("/networks/create", &body).await?;
    output::print_line(made["Id"].as_str().unwrap_or_default())?;
    Ok(0)
}

/// Brings ranges, gateways and auxiliary addresses to their subnets, as Docker's client does.
fn pools(args: &Args) -> Outcome<Value> {
    let alone = args.ip_range.len() > args.subnet.len() || args.gateway.len() > args.subnet.len();
    if alone {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let bad = |error: dhow_model::Error| Failure::new(error.to_string());
    let mut pools = Vec::new();
    let mut subnets = Vec::new();
    for text in &args.subnet {
        let subnet = Subnet::parse(text, false).map_err(bad)?;
        if subnets.iter().any(|other: &Subnet| other.overlaps(subnet)) {
            return Err(Failure::new("multiple overlapping subnet configuration is not supported"));
        }
        subnets.push(subnet);
        pools.push(json!({"Subnet": text, "AuxiliaryAddresses": {}}));
    }
    let holder = |at: &dyn Fn(&Subnet) -> bool, what: &str, text: &str| {
        subnets
            .iter()
            .position(at)
            .ok_or_else(|| Failure::new(format!("no matching subnet for {what} {text}")))
    };
    for text in &args.ip_range {
        let range = Subnet::parse(text, false).map_err(bad)?;
        let at = holder(&|subnet| subnet.holds(range), "range", text)?;
        if !pools[at]["IPRange"].is_null() {
            return Err(Failure::new("cannot configure multiple ranges on the same subnet"));
        }
        pools[at]["IPRange"] = text.as_str().into();
    }
    for gateway in &args.gateway {
        let at = holder(&|subnet| subnet.contains(*gateway), "gateway", &gateway.to_string())?;
        if !pools[at]["Gateway"].is_null() {
            return Err(Failure::new("cannot configure multiple gateways for the same subnet"));
        }
        pools[at]["Gateway"] = gateway.to_string().into();
    }
    for text in &args.aux_address {
        let (name, address) = text.split_once('=').unwrap_or(("", text));
        let parsed: IpAddr =
            address.parse().map_err(|_| Failure::new(format!("invalid auxiliary address {text}")))?;
        let at = holder(&|subnet| subnet.contains(parsed), "aux-address", address)?;
        pools[at]["AuxiliaryAddresses"][name] = address.into();
    }
    Ok(pools.into())
}
