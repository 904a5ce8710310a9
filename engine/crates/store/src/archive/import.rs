//! `import`: an image of one layer from a root filesystem's tar.

use super::Loaded;
use crate::content::Content;
use crate::image_config::ParsedConfig;
use crate::layer::{Expected, LayerSource, LayerStore};
use dhow_model::image::{History, ImageConfig};
use dhow_model::{Error, Result, Timestamp};
use std::io::Read;
use std::time::SystemTime;

/// What the new image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportOptions {
    /// The default container configuration.
    pub config: ImageConfig,
    /// The comment of its one history entry.
    pub comment: String,
    /// `linux`.
    pub os: String,
    /// `amd64`, …; empty: this machine's.
    pub architecture: String,
    /// `v8`; may be empty.
    pub variant: String,
    /// When it was made.
    pub created: Timestamp,
}

/// Installs the tar that `input` brings (plain, gzip, zstd, xz or bzip2) as a layer, and makes an image of it. It has no
/// reference yet.
///
/// # Errors
/// `Corrupt` for a tar that is damaged or truncated; `Unsupported` for other compressions.
pub fn import(
    content: &Content,
    layers: &dyn LayerStore,
    input: &mut dyn Read,
    options: ImportOptions,
) -> Result<Loaded> {
    let source = LayerSource::Reader { reader: Box::new(input), size: None };
    let layer = layers
        .install(source, Expected::default(), &())
        .map_err(|error| Error::caused(error.kind(), "import the root filesystem", error))?;
    let parsed = ParsedConfig {
        os: if options.os.is_empty() { "linux".to_owned() } else { options.os },
        architecture: if options.architecture.is_empty() {
            crate::manifest::architecture().to_owned()
        } else {
            options.architecture
        },
        variant: options.variant,
        created: Some(options.created),
        author: String::new(),
        config: options.config,
        diff_ids: vec![layer.diff_id.clone()],
        history: vec![History {
            created: Some(options.created),
            comment: options.comment,
            ..History::default()
        }],
    };
    let id = content.put_bytes(&parsed.to_json()?, None)?;
    let image = parsed.into_image(id, None, &[layer.size_bytes], Timestamp::from(SystemTime::now()));
    Ok(Loaded { image, references: Vec::new(), layers: vec![layer] })
}
