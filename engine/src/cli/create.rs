//! `dhow create`: makes a container without starting it. Also the first half of `run`.

use crate::cli::arguments::Rules;
use crate::cli::client::Client;
use crate::cli::context::Context;
use crate::cli::credentials::Credentials;
use crate::cli::exit::{Failure, NOT_STARTED, Outcome};
use crate::cli::output;
use crate::cli::progress::Show;
use crate::cli::pull::pull;
use crate::cli::spec::{self, REFUSED, Spec, SpecArgs};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use clap::Parser;
use dhow_model::Reference;
use dhow_store::manifest::Platform;
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
    let id = create(&client, &context.credentials(), &args.spec, spec).await?;
    output::print_line(&id)?;
    Ok(0)
}

/// Creates the container and returns its id; pulls the image when it is missing, or when that is asked for.
pub(crate) async fn create(
    client: &Client,
    credentials: &Credentials,
    args: &SpecArgs,
    spec: Spec,
) -> Outcome<String> {
    let reference = check_image(&args.image)?;
    let id_file = args.cidfile.as_deref().filter(|p| !p.is_empty()).map(IdFileGuard::create).transpose()?;
    let mut options = CreateContainerOptionsBuilder::default();
    if let Some(name) = args.name.as_deref().filter(|n| !n.is_empty()) {
        options = options.name(name);
    }
    if let Some(platform) = args.platform.as_deref().filter(|p| !p.is_empty()) {
        // Looked at before anything is pulled for it.
        Platform::parse(platform).map_err(|why| {
            Failure::new(format!("error parsing specified platform: {why}: invalid argument"))
                .with_code(NOT_STARTED)
        })?;
        options = options.platform(platform);
    }
    let options = options.build();
    let pull = async |reference: &Reference| {
        let show = if args.quiet { Show::Nothing } else { Show::Stderr };
        let pulled = pull(client, credentials, reference, args.platform.as_deref(), show).await;
        pulled.map_err(|failure| failure.with_code(NOT_STARTED))
    };
    if let (Some(reference), "always") = (&reference, args.pull.as_str()) {
        pull(reference).await?;
    }
    let mut created = client.docker.create_container(Some(options.clone()), spec.body.clone()).await;
    if let Err(error) = created {
        let failure = Failure::from(error);
        let (Some(reference), "missing") = (&reference, args.pull.as_str()) else { return Err(failure) };
        // Another object may be missing too: a network, a container whose namespace is wanted.
        let message = failure.message.to_lowercase();
        let image = message.contains("no such image") || message.contains("its platform");
        if !failure.is_not_found() || !image {
            return Err(failure);
        }
        if !args.quiet {
            output::warn_line(&format!("Unable to find image '{}' locally", reference.familiar()));
        }
        pull(reference).await?;
        created = client.docker.create_container(Some(options), spec.body).await;
    }
    let created = created?;
    for warning in &created.warnings {
        output::warn_line(&format!("WARNING: {warning}"));
    }
    if let Some(file) = id_file {
        file.write(&created.id)?;
    }
    Ok(created.id)
}

/// Checks the form of the image's name. `None` for an id, which no registry knows.
fn check_image(image: &str) -> Outcome<Option<Reference>> {
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id(image) || image.strip_prefix("sha256:").is_some_and(is_id) {
        return Ok(None);
    }
    match Reference::parse(image) {
        Ok(reference) => Ok(Some(reference.with_default_tag())),
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
