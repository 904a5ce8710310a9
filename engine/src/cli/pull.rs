//! `dhow pull`: downloads an image from a registry.

use crate::cli::arguments::Rules;
use crate::cli::client::{Client, Route, empty};
use crate::cli::context::Context;
use crate::cli::credentials::Credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::progress::{Show, follow};
use clap::Parser;
use dhow_model::Reference;
use http::{HeaderMap, HeaderValue, Method};

/// Download an image from a registry
#[derive(Debug, Parser)]
#[command(name = "dhow pull")]
pub(crate) struct Args {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let mut reference = Reference::parse(&args.name)?;
    let bare = reference.tag().is_none() && reference.digest().is_none();
    if args.all_tags && !bare {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if bare && !args.all_tags {
        reference = reference.with_default_tag();
        if !args.quiet {
            output::print_line("Using default tag: latest")?;
        }
    }
    let show = if args.quiet { Show::Nothing } else { Show::Stdout };
    let client = context.client().await?;
    pull(&client, &context.credentials(), &reference, args.platform.as_deref(), show).await?;
    output::print_line(&reference.to_string())?;
    Ok(0)
}

/// Pulls a reference; without tag and digest all tags.
pub(crate) async fn pull(
    client: &Client,
    credentials: &Credentials,
    reference: &Reference,
    platform: Option<&str>,
    show: Show,
) -> Outcome<()> {
    let digest = reference.digest().map(ToString::to_string);
    let route = Route::new("/images/create")
        .with("fromImage", &reference.familiar_name())
        .maybe("tag", digest.as_deref().or(reference.tag()))
        .maybe("platform", platform.filter(|p| !p.is_empty()));
    let headers = auth_header(credentials, reference.domain())?;
    let answer = client.send_with(Method::POST, route.as_str(), empty(), headers).await?;
    follow(answer, show).await
}

/// `X-Registry-Auth` for a registry.
pub(crate) fn auth_header(credentials: &Credentials, domain: &str) -> Outcome<HeaderMap> {
    let mut headers = HeaderMap::new();
    let login = credentials.get(domain)?.unwrap_or_default();
    let mut value = HeaderValue::from_str(&login.header(domain))
        .map_err(|_| Failure::new(format!("the credentials for {domain} do not fit into a header")))?;
    value.set_sensitive(true);
    headers.insert("x-registry-auth", value);
    Ok(headers)
}
