//! Who may sign for a registry, and who we say we are: the system's certificates, and those of `certs.d`.

use crate::settings::Settings;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// The TLS side of a connection to a host: a registry, or one that the registry led to. Who signs for the registry
/// signs for the others, too, as with Docker. A client's certificate is shown to its own host alone.
///
/// # Errors
/// `InvalidArgument` naming a file of `certs.d` that holds no certificate.
pub(crate) fn tls_for(
    host: &str,
    registry: &str,
    settings: &Settings,
    insecure: bool,
    system: &[Certificate<'static>],
) -> Result<TlsConfig> {
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
        if host != registry {
            let signers = files(&directory.join(registry))?.into_iter();
            for path in signers.filter(|path| path.extension().is_some_and(|e| e == "crt")) {
                roots.extend(certificates(&path)?);
            }
        }
    }
    roots.extend_from_slice(system);
    Ok(config.root_certs(RootCerts::new_with_certs(&roots)).client_cert(client).build())
}

/// Who may sign for anybody. A certificate that cannot be read there is the system's business.
pub(crate) fn system_roots() -> Vec<Certificate<'static>> {
    let native = rustls_native_certs::load_native_certs().certs;
    native.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A certificate that signs itself, with its key, as PEM.
    fn pair(directory: &Path) -> (Vec<u8>, Vec<u8>) {
        let [certificate, key] = ["made.crt", "made.pem"].map(|name| directory.join(name));
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=client", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(std::process::Stdio::null())
            .status()
            .expect("openssl: run `cargo xtask setup`");
        assert!(status.success());
        (std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap())
    }

    #[test]
    fn a_clients_certificate_is_shown_to_its_own_host_alone() {
        let directory = std::env::temp_dir().join(format!("dhow-certs-{}", std::process::id()));
        let own = directory.join("reg.example:5000");
        std::fs::create_dir_all(&own).unwrap();
        let (certificate, key) = pair(&directory);
        for (name, bytes) in [("ca.crt", &certificate), ("client.cert", &certificate), ("client.key", &key)] {
            std::fs::write(own.join(name), bytes).unwrap();
        }
        let settings = Settings { certificates: vec![directory.clone()], ..Settings::default() };
        let of = |host: &str| tls_for(host, "reg.example:5000", &settings, false, &[]).unwrap();
        let signers = |config: &TlsConfig| match config.root_certs() {
            RootCerts::Specific(certificates) => certificates.len(),
            other => panic!("{other:?}"),
        };
        let home = of("reg.example:5000");
        assert!(home.client_cert().is_some());
        assert_eq!(signers(&home), 1);
        for other in ["storage.example", "reg.example", "reg.example:5001"] {
            let config = of(other);
            assert!(config.client_cert().is_none(), "{other}");
            assert_eq!(signers(&config), 1, "who signs for the registry signs for {other}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
