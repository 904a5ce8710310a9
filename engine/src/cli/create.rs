//! `dhow create`: makes a container without starting it. Also the first half of `run`.

use crate::cli::arguments::Rules;
use crate::cli::client::Client;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, NOT_STARTED, Outcome};
use crate::cli::output;
use crate::cli::spec::{self, REFUSED, Spec, SpecArgs};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use clap::Parser;
use dhow_model::Reference;
use std::io::Write;
use std::path::PathBuf;

/// Create a new container
#[derive(Debug, Parser)]
#[command(name = "dhow create", disable_help_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: true, refused: REFUSED };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let spec = spec::build(&args.spec)?;
    let client = context.client().await?;
    let id = create(&client, &args.spec, spec).await?;
    output::print_line(&id)?;
    Ok(0)
}

/// Creates the container and returns its id.
pub(crate) async fn create(client: &Client, args: &SpecArgs, spec: Spec) -> Outcome<String> {
    let reference = check_image(&args.image)?;
    if args.pull == "always" {
        return Err(no_registry());
    }
    let id_file = args.cidfile.as_deref().filter(|p| !p.is_empty()).map(IdFileGuard::create).transpose()?;
    let mut options = CreateContainerOptionsBuilder::default();
    if let Some(name) = args.name.as_deref().filter(|n| !n.is_empty()) {
        options = options.name(name);
    }
    if let Some(platform) = &args.platform {
        options = options.platform(platform);
    }
    let created = client.docker.create_container(Some(options.build()), spec.body).await;
    let created = created.map_err(|error| {
        let failure = Failure::from(error);
        if !failure.is_not_found() || args.pull == "never" {
            return failure;
        }
        // Another object may be missing too: a network, a container whose namespace is wanted.
        if !failure.message.to_lowercase().contains("no such image") {
            return failure;
        }
        if !args.quiet {
            output::warn_line(&format!("Unable to find image '{reference}' locally"));
        }
        no_registry()
    })?;
    for warning in &created.warnings {
        output::warn_line(&format!("WARNING: {warning}"));
    }
    if let Some(file) = id_file {
        file.write(&created.id)?;
    }
    Ok(created.id)
}

fn no_registry() -> Failure {
    Failure::new("cannot pull: registries come later; load images with dhow load or dhow import")
        .with_code(NOT_STARTED)
}

/// Checks the form of the image's name; returns the form that people read.
fn check_image(image: &str) -> Outcome<String> {
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id(image) || image.strip_prefix("sha256:").is_some_and(is_id) {
        return Ok(image.to_owned());
    }
    match Reference::parse(image) {
        Ok(reference) => Ok(reference.with_default_tag().familiar()),
        Err(error) => Err(Failure::new(error.to_string()).with_code(NOT_STARTED)),
    }
}

/// The file of `--cidfile`: made first, so that a name that is taken stops everything; removed again when no
/// container was created.
struct IdFileGuard {
    path: PathBuf,
    file: Option<std::fs::File>,
}

impl IdFileGuard {
    fn create(path: &str) -> Outcome<Self> {
        let path = PathBuf::from(path);
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self { path, file: Some(file) }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ))),
            Err(error) => Err(Failure::usage(format!(
                "failed to create the container ID file: {}: {error}",
                path.display()
            ))),
        }
    }

    fn write(mut self, id: &str) -> Outcome<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|error| {
            Failure::usage(format!("failed to write the container ID to {}: {error}", self.path.display()))
        })
    }
}

impl Drop for IdFileGuard {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Empty and ours.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
