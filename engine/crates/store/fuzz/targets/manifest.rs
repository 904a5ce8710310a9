//! Manifests, indexes and image configurations from strangers.
#![no_main]

use dhow_store::{image_config, manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = manifest::parse("fuzz", bytes, None) {
        let _ = manifest::parse_remarks("fuzz", bytes);
        if let Some(entries) = document.manifests.clone() {
            entries.iter().for_each(|entry| drop(entry.attests().map(str::len)));
            let _ = manifest::choose("fuzz", entries, &manifest::Platform::host());
        }
        let is_artifact = document.is_artifact();
        if let Ok((config, layers)) = document.of_image("fuzz") {
            assert!(!is_artifact);
            let _ = config.parsed_digest();
            for layer in layers {
                let _ = layer.check_layer().and_then(|()| layer.parsed_digest());
            }
        }
    }
    let _ = image_config::parse(bytes);
});
