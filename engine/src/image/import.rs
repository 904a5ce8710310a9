//! `import`: an image of one layer from a plain root filesystem.

use crate::Engine;
use dhow_model::image::ImageConfig;
use dhow_model::{Digest, Reference, Result};
use dhow_store::archive::ImportOptions;
use std::io::Read;

/// What an import is called and says.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The tag it gets, if any.
    pub reference: Option<Reference>,
    /// Dockerfile instructions that set its configuration: `CMD ["sh"]`, `ENV A=1`, ….
    pub changes: Vec<String>,
    /// Its history entry's comment.
    pub message: String,
    /// `os[/architecture[/variant]]`; empty: this machine's.
    pub platform: String,
}

/// Imports a tar, plain or compressed.
///
/// # Errors
/// `InvalidArgument` for a change that is no instruction, naming it; `Corrupt` for a bad tar.
pub fn import(engine: &Engine, input: &mut dyn Read, request: &ImportRequest) -> Result<Digest> {
    let mut config = ImageConfig::default();
    for change in &request.changes {
        super::change::apply(&mut config, change)?;
    }
    let mut platform = request.platform.split('/').filter(|p| !p.is_empty());
    let options = ImportOptions {
        config,
        comment: if request.message.is_empty() {
            "Imported from -".to_owned()
        } else {
            request.message.clone()
        },
        os: platform.next().unwrap_or("linux").to_owned(),
        architecture: platform.next().unwrap_or(super::embedded::ARCHITECTURE).to_owned(),
        variant: platform.next().unwrap_or("").to_owned(),
        created: crate::events::now(),
    };
    super::gc::install(engine, || {
        let mut loaded = dhow_store::archive::import(engine.content(), engine.layer_store(), input, options)?;
        loaded.references = request.reference.iter().cloned().collect();
        let id = loaded.image.id.clone();
        super::load::record(engine, vec![loaded], "import")?;
        Ok(id)
    })
}
