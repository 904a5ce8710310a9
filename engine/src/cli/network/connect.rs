//! `dhow network connect`: puts a container on a further network.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::spec::driver_option;
use clap::Parser;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connect a container to a network
#[derive(Debug, Parser)]
#[command(name = "dhow network connect")]
pub(crate) struct Args {
    /// Add network-scoped alias for the container
    #[arg(long)]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long)]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values
    #[arg(long, allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long)]
    ip6: Option<Ipv6Addr>,
    /// Add link to another container
    #[arg(long)]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long)]
    link_local_ip: Vec<IpAddr>,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let options =
        args.driver_opt.iter().map(|text| driver_option(text)).collect::<Outcome<BTreeMap<_, _>>>()?;
    let body = json!({
        "Container": args.container,
        "EndpointConfig": {
            "IPAMConfig": {
                "IPv4Address": args.ip.map(|ip| ip.to_string()),
                "IPv6Address": args.ip6.map(|ip| ip.to_string()),
                "LinkLocalIPs": args.link_local_ip,
            },
            "DriverOpts": options,
            "Links": args.link,
            "Aliases": args.alias,
            "GwPriority": args.gw_priority.unwrap_or(0),
        },
    });
    let route = Route::of("/networks/", &args.network, "/connect");
    context.client().await?.post(route.as_str(), &body).await?;
    Ok(0)
}
