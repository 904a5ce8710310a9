//! `dhow login`: proves who the person is, and remembers it where Docker does.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::credentials::{HUB, Login, domain_of, key_of};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{output, terminal};
use clap::Parser;
use serde_json::{Value, json};
use std::io::{BufRead, Read, Write};

/// Authenticate to a registry
#[derive(Debug, Parser)]
#[command(name = "dhow login")]
pub(crate) struct Args {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long)]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long)]
    username: Option<String>,
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.password.is_some() {
        output::warn_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if args.password_stdin {
            return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
        }
    }
    let username = args.username.filter(|name| !name.is_empty());
    if args.password_stdin && username.is_none() {
        return Err(Failure::new("must provide --username with --password-stdin"));
    }
    let domain = args.server.as_deref().map_or_else(|| HUB.to_owned(), domain_of);
    let credentials = context.credentials();
    let known = credentials.get(&domain)?.filter(|login| !login.username.is_empty());
    let login = match (username, args.password, known) {
        (None, None, Some(known)) if !args.password_stdin => {
            output::print_line("Authenticating with existing credentials...")?;
            known
        }
        (username, password, known) => {
            let password = if args.password_stdin { Some(from_stdin()?) } else { password };
            ask(username, password, known)?
        }
    };
    let body = json!({
        "username": login.username, "password": login.password, "serveraddress": key_of(&domain),
    });
    let client = context.client().await?;
    let answer: Value = client.post_json("/auth", &body).await?;
    if let Some(path) = credentials.store(&domain, &login)? {
        output::warn_line(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
             this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    output::print_line(answer["Status"].as_str().unwrap_or("Login Succeeded"))?;
    Ok(0)
}

fn from_stdin() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("read the password from standard input: {error}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks the person for what is missing.
fn ask(username: Option<String>, password: Option<String>, known: Option<Login>) -> Outcome<Login> {
    let interactive = terminal::input_is_terminal();
    if (username.is_none() || password.is_none()) && !interactive {
        return Err(Failure::new("cannot perform an interactive login from a non-TTY device"));
    }
    let username = match username {
        Some(name) => name,
        None => {
            let before = known.map(|k| k.username).filter(|name| !name.is_empty());
            let shown = before.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            output::print(&format!("Username{shown}: "))?;
            let typed = read_line()?;
            if typed.is_empty() { before.unwrap_or_default() } else { typed }
        }
    };
    if username.is_empty() {
        return Err(Failure::new("username is required"));
    }
    let password = match password {
        Some(password) => password,
        None => {
            output::print("Password: ")?;
            let hidden = terminal::NoEchoGuard::enter()?;
            let typed = read_line();
            drop(hidden);
            // The person's own newline was not shown.
            let _ = writeln!(std::io::stdout());
            typed?
        }
    };
    if password.is_empty() {
        return Err(Failure::new("password is required"));
    }
    Ok(Login { username, password, ..Login::default() })
}

fn read_line() -> Outcome<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new(format!("read standard input: {error}")))?;
    Ok(line.trim().to_owned())
}
