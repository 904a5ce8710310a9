//! `dhow version`: what this command line and its engine are.

use crate::cli::arguments::Rules;
use crate::cli::client::wire;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::parse_template;
use crate::cli::output;
use clap::Parser;
use serde_json::{Value, json};
use std::fmt::Write;

/// Show the version information
#[derive(Debug, Parser)]
#[command(name = "dhow version")]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let template = match args.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(parse_template("{{json .}}")?),
        Some(text) => Some(parse_template(text)?),
    };
    // The client's half is shown even when there is no engine.
    let (api, server) = match context.client().await {
        Ok(client) => (client.version(), client.get_bytes("/version").await),
        Err(failure) => (String::new(), Err(failure)),
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let client = json!({
        "Platform": {"Name": "dhow"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api,
        "DefaultAPIVersion": bollard::API_DEFAULT_VERSION.to_string(),
        "Os": std::env::consts::OS,
        "Arch": arch,
        "Context": "default",
    });
    let (server, failure) = match server {
        Ok(bytes) => (serde_json::from_slice(&bytes).map_err(wire)?, None),
        Err(failure) => (Value::Null, Some(failure)),
    };
    let all = json!({"Client": client, "Server": server});
    match template {
        // Docker's template has a name here.
        Some(template) => output::print_line(&template.execute(&all).map_err(|why| {
            let why = why.replacen("template: :", "template: version:", 1);
            Failure::new(why.replacen("executing \"\"", "executing \"version\"", 1))
        })?)?,
        None => output::print(&show(&all))?,
    }
    failure.map_or(Ok(0), Err)
}

/// The text that people read.
fn show(all: &Value) -> String {
    let mut text = String::new();
    let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String, depth: usize| {
        let _ = writeln!(text, "{:depth$}{:<18}{value}", "", format!("{name}:"));
    };
    let client = &all["Client"];
    line("Client", field(&client["Platform"]["Name"]), 0);
    line("Version", field(&client["Version"]), 1);
    line("API version", field(&client["ApiVersion"]), 1);
    line("OS/Arch", format!("{}/{}", field(&client["Os"]), field(&client["Arch"])), 1);
    let server = &all["Server"];
    if !server.is_null() {
        line("\nServer", field(&server["Platform"]["Name"]), 0);
        line("Engine", String::new(), 1);
        line("Version", field(&server["Version"]), 2);
        let least = field(&server["MinAPIVersion"]);
        line("API version", format!("{} (minimum version {least})", field(&server["ApiVersion"])), 2);
        line("Git commit", field(&server["GitCommit"]), 2);
        line("OS/Arch", format!("{}/{}", field(&server["Os"]), field(&server["Arch"])), 2);
        line("Kernel Version", field(&server["KernelVersion"]), 2);
        for component in server["Components"].as_array().into_iter().flatten() {
            if component["Name"] == "Engine" {
                continue;
            }
            line(&field(&component["Name"]), String::new(), 1);
            line("Version", field(&component["Version"]), 2);
        }
    }
    text.lines().map(|l| format!("{}\n", l.trim_end())).collect()
}
