//! `dhow manifest annotate`: says for which machine a manifest of a list is.

use super::entry::Platform;
use super::local::Lists;
use super::named;
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use clap::Parser;

/// Add additional information to a local image manifest
#[derive(Debug, Parser)]
#[command(name = "dhow manifest annotate")]
pub(crate) struct Args {
    /// Set architecture
    #[arg(long, default_value = "", hide_default_value = true)]
    arch: String,
    /// Set operating system
    #[arg(long, default_value = "", hide_default_value = true)]
    os: String,
    /// Set operating system feature
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, default_value = "", hide_default_value = true)]
    os_version: String,
    /// Set architecture variant
    #[arg(long, default_value = "", hide_default_value = true)]
    variant: String,
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(required = true, value_name = "MANIFEST")]
    manifest: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

/// What Go's compiler builds for, which is what images are for.
const MACHINES: [(&str, &[&str]); 13] = [
    ("aix", &["ppc64"]),
    ("android", &["386", "amd64", "arm", "arm64"]),
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
            "ppc64le", "riscv64", "s390x",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm", "arm64"]),
    ("openbsd", &["386", "amd64", "arm", "arm64"]),
    ("plan9", &["386", "amd64", "arm"]),
    ("solaris", &["amd64"]),
    ("js", &["wasm"]),
    ("wasip1", &["wasm"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

#[expect(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let (list, manifest) = (named(&args.list)?, named(&args.manifest)?);
    let lists = Lists::of(context)?;
    let Some(mut entry) = lists.entry(&list, &manifest)? else {
        return Err(Failure::new(format!("manifest for image {manifest} does not exist in {list}")));
    };
    let mut platform = entry.descriptor.platform.take().unwrap_or_default();
    annotate(&mut platform, &args);
    let known = MACHINES.iter().any(|(os, architectures)| {
        *os == platform.os && architectures.contains(&platform.architecture.as_str())
    });
    if !known {
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            args.os, args.arch
        )));
    }
    entry.descriptor.platform = Some(platform);
    lists.keep(&list, &manifest, &entry)?;
    Ok(0)
}

fn annotate(platform: &mut Platform, args: &Args) {
    for (field, said) in [
        (&mut platform.os, &args.os),
        (&mut platform.architecture, &args.arch),
        (&mut platform.variant, &args.variant),
        (&mut platform.os_version, &args.os_version),
    ] {
        if !said.is_empty() {
            field.clone_from(said);
        }
    }
    for feature in &args.os_features {
        if !platform.os_features.contains(feature) {
            platform.os_features.push(feature.clone());
        }
    }
}
