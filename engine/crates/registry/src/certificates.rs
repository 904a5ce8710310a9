//! Who may sign for a registry, and who we say we are: the system's certificates, and those of `certs.d`.

use crate::settings::Settings;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// The TLS side of a connection to a host.
///
/// # Errors
/// `InvalidArgument` naming a file of `certs.d` that holds no certificate.
pub(crate) fn tls_for(host: &str, settings: &Settings, insecure: bool) -> Result<TlsConfig> {
    // Named here: whoever embeds the engine may have chosen another one for the process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if insecure {
        config = config.disable_verification(true);
    }
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    let mut client = None;
    for directory in &settings.certificates {
        for path in files(&directory.join(host))? {
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => roots.extend(certificates(&path)?),
                Some("cert") if client.is_none() => client = Some(client_certificate(&path)?),
                _ => {}
            }
        }
    }
    // What the system does not have is what a registry's own certificates are for; a certificate that cannot be read
    // there is the system's business.
    let native = rustls_native_certs::load_native_certs().certs;
    roots.extend(native.iter().map(|der| Certificate::from_der(der).to_owned()));
    Ok(config.root_certs(RootCerts::new_with_certs(&roots)).client_cert(client).build())
}

/// The files of a directory that may be missing, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("list {}", directory.display()))?,
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| bad(path, error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("there is no certificate in {}", path.display())));
    }
    Ok(found)
}

/// `client.cert`, with `client.key` beside it.
fn client_certificate(path: &Path) -> Result<ClientCert> {
    let chain = certificates(path)?;
    let key_path = path.with_extension("key");
    let key = PrivateKey::from_pem(&read(&key_path)?).map_err(|error| bad(&key_path, error))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context_kind(ErrorKind::InvalidArgument, || format!("read {}", path.display()))
}

fn bad(path: &Path, error: ureq::Error) -> Error {
    Error::caused(ErrorKind::InvalidArgument, format!("read the certificates of {}", path.display()), error)
}
