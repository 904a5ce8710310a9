//! Manifests at a registry, asked as the person who types.

use super::entry::{Descriptor, Entry, Platform};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use dhow_model::{Digest, ErrorKind, Reference};
use dhow_registry::{Credentials, Repository, Settings};
use dhow_store::content::digest_of;
use dhow_store::manifest;

/// What a name leads to.
pub(super) enum Found {
    Manifest(Entry),
    /// The manifests of a list, in its order.
    List(Vec<Entry>),
}

/// A registry's repository, for reading or for writing.
pub(super) struct Remote {
    repository: Repository,
    reference: Reference,
}

impl Remote {
    pub(super) fn to_pull(context: &Context, reference: &Reference, insecure: bool) -> Outcome<Self> {
        let (credentials, settings) = asker(context, reference, insecure)?;
        let repository = Repository::to_pull(reference.domain(), reference.path(), &credentials, &settings)?;
        Ok(Self { repository, reference: reference.clone() })
    }

    pub(super) fn to_push(context: &Context, reference: &Reference, insecure: bool) -> Outcome<Self> {
        let (credentials, settings) = asker(context, reference, insecure)?;
        let repository = Repository::to_push(reference.domain(), reference.path(), &credentials, &settings)?;
        Ok(Self { repository, reference: reference.clone() })
    }

    /// The manifest or the list that the name leads to.
    pub(super) fn find(&self) -> Outcome<Found> {
        let name = self.reference.familiar();
        let wanted = self.reference.digest().map(Digest::as_str).or(self.reference.tag()).unwrap_or("latest");
        let fetched = self.repository.manifest(wanted).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("no such manifest: {name}")),
            _ => Failure::new(error.to_string()),
        })?;
        check(&name, &fetched.bytes, self.reference.digest())?;
        let said = Some(fetched.media_type.as_str()).filter(|said| !said.is_empty());
        let document = manifest::parse(&name, &fetched.bytes, said)?;
        let media_type = document.media_type.clone().unwrap_or(fetched.media_type);
        let Some(manifests) = document.manifests else {
            if document.is_artifact() {
                return Ok(Found::Manifest(entry(name, media_type, fetched.bytes, None)));
            }
            let (config, _) = document.of_image(&name)?;
            let platform = self.platform_of(&config.parsed_digest()?)?;
            return Ok(Found::Manifest(entry(name, media_type, fetched.bytes, Some(platform))));
        };
        let list: ListPlatforms = serde_json::from_slice(&fetched.bytes)
            .map_err(|error| Failure::new(format!("{name} is not a valid manifest list: {error}")))?;
        let mut entries = Vec::new();
        for (descriptor, platform) in manifests.iter().zip(list.manifests) {
            let digest = descriptor.parsed_digest()?;
            let fetched = self.repository.manifest(digest.as_str())?;
            check(&name, &fetched.bytes, Some(&digest))?;
            let reference = format!("{name}@{digest}");
            entries.push(entry(reference, descriptor.media_type.clone(), fetched.bytes, platform.platform));
        }
        Ok(Found::List(entries))
    }

    /// What an image's configuration says that it is for.
    fn platform_of(&self, config: &Digest) -> Outcome<Platform> {
        let blob = self.repository.blob(config, 0, None)?;
        let mut bytes = Vec::new();
        let name = self.reference.familiar();
        let limit = dhow_store::content::SMALL_MAX;
        std::io::Read::read_to_end(&mut std::io::Read::take(blob.reader, limit), &mut bytes)
            .map_err(|error| Failure::new(format!("read the configuration {config} of {name}: {error}")))?;
        check(&format!("the configuration of {name}"), &bytes, Some(config))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("the configuration {config} of {name}: {error}")))
    }

    /// Has the registry take a manifest's blobs from another of its repositories.
    pub(super) fn mount_blobs(&self, entry: &Entry, from: &Reference) -> Outcome<()> {
        let document = manifest::parse(&entry.reference, &entry.raw, None)?;
        let (config, layers) = document.of_image(&entry.reference)?;
        for blob in layers.iter().chain([&config]) {
            let digest = blob.parsed_digest()?;
            if self.repository.blob_size(&digest)?.is_some() {
                continue;
            }
            if self.repository.upload(Some((&digest, from.path())))?.is_some() {
                return Err(Failure::new(format!(
                    "{} does not give {digest} of {} to {}: push the image there first",
                    self.repository.host(),
                    from.familiar(),
                    self.reference.familiar_name()
                )));
            }
        }
        Ok(())
    }

    /// Stores bytes under a tag or digest.
    pub(super) fn put(&self, under: &str, media_type: &str, bytes: &[u8]) -> Outcome<()> {
        Ok(self.repository.put_manifest(under, media_type, bytes)?)
    }
}

/// The fields of platforms that installing images has no use for.
#[derive(serde::Deserialize)]
struct ListPlatforms {
    manifests: Vec<WithPlatform>,
}

#[derive(serde::Deserialize)]
struct WithPlatform {
    #[serde(default)]
    platform: Option<Platform>,
}

fn entry(reference: String, media_type: String, raw: Vec<u8>, platform: Option<Platform>) -> Entry {
    let descriptor =
        Descriptor { media_type, digest: digest_of(&raw).to_string(), size: raw.len() as u64, platform };
    Entry { reference, descriptor, raw }
}

fn check(name: &str, bytes: &[u8], wanted: Option<&Digest>) -> Outcome<()> {
    let got = digest_of(bytes);
    match wanted {
        Some(wanted) if *wanted != got => {
            Err(Failure::new(format!("{name} is corrupt: wanted digest {wanted}, got {got}")))
        }
        _ => Ok(()),
    }
}

fn asker(context: &Context, reference: &Reference, insecure: bool) -> Outcome<(Credentials, Settings)> {
    let domain = reference.domain();
    let credentials = match context.credentials().get(domain)? {
        None => Credentials::Anonymous,
        Some(login) if !login.identity_token.is_empty() => Credentials::IdentityToken(login.identity_token),
        Some(login) => Credentials::Password { username: login.username, password: login.password },
    };
    let mut settings = Settings::default();
    if insecure {
        settings.insecure.push(domain.to_owned());
    }
    Ok((credentials, settings))
}
