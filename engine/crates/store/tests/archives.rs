//! Image archives that real tools made, archives that real tools read, and archives that are wrong.

use crate::support::{Scratch, Tar, sh};
use dhow_model::image::ImageConfig;
use dhow_model::{ErrorKind, Layout, Reference, Timestamp};
use dhow_store::archive::{self, Chosen, ImportOptions};
use dhow_store::content::{Content, digest_of};
use dhow_store::install::Loaded;
use dhow_store::layer::{LayerStore, Layers};
use serde_json::{Value, json};
use std::fs::File;

fn load(scratch: &Scratch, name: &str) -> dhow_model::Result<Vec<Loaded>> {
    archive::load(&scratch.content, &scratch.layers, File::open(scratch.path(name)).unwrap())
        .map(|archived| archived.images)
}

/// Two images in one buildah store: `one` (two layers) and `two` (one of them shared).
fn make_images(scratch: &Scratch) {
    sh(
        scratch.dir.path(),
        r#"
        export STORAGE_DRIVER=vfs
        opts="--root $PWD/st --runroot $PWD/rr"
        mkdir -p files/etc; echo one > files/etc/one
        c=$(buildah $opts from scratch)
        buildah $opts copy -q $c files / >/dev/null
        buildah $opts config --cmd '["/bin/sh","-c","hi"]' --env A=1 --label l=v --port 80/tcp --volume /data --user 1:2 --workingdir /w --stop-signal SIGQUIT --author me $c
        buildah $opts commit -q $c one:1 >/dev/null; buildah $opts rm $c >/dev/null
        c=$(buildah $opts from --pull=never localhost/one:1); echo two > files/etc/two
        buildah $opts copy -q $c files / >/dev/null
        buildah $opts commit -q $c two:2 >/dev/null; buildah $opts rm $c >/dev/null
        "#,
    );
}

/// What must be true of image `two`, whoever wrote the archive.
fn check_two(scratch: &Scratch, loaded: &Loaded) {
    let image = &loaded.image;
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.config.cmd, ["/bin/sh", "-c", "hi"]);
    assert_eq!((image.config.user.as_str(), image.config.working_dir.as_str()), ("1:2", "/w"));
    assert!(image.config.env.contains(&"A=1".to_owned()));
    assert_eq!(image.config.labels["l"], "v");
    assert!(image.config.volumes.contains("/data") && image.config.exposed_ports.contains("80/tcp"));
    assert_eq!((image.os.as_str(), image.architecture.as_str()), ("linux", "amd64"));
    assert_eq!(image.size_bytes, loaded.layers.iter().map(|l| l.size_bytes).sum::<u64>());
    assert_eq!(digest_of(&scratch.content.read_small(&image.id).unwrap()), image.id);
    let top = scratch.layers.lower_dir(&image.layers[1]);
    assert_eq!(std::fs::read_to_string(top.join("etc/two")).unwrap(), "two\n");
    assert!(scratch.leftovers().is_empty());
}

#[test]
fn archives_of_podman_buildah_and_skopeo_load() {
    let scratch = Scratch::new();
    make_images(&scratch);
    sh(
        scratch.dir.path(),
        r#"
        export STORAGE_DRIVER=vfs
        opts="--root $PWD/st --runroot $PWD/rr"
        buildah $opts push -q localhost/two:2 docker-archive:$PWD/docker.tar:localhost/two:2
        buildah $opts push -q localhost/two:2 oci-archive:$PWD/oci.tar:localhost/two:2
        buildah $opts push -q --compression-format zstd localhost/two:2 oci:$PWD/zstd:latest
        podman $opts save -q --format docker-archive -m -o both.tar localhost/one:1 localhost/two:2
        podman $opts save -q --format oci-archive -o podman-oci.tar localhost/two:2
        skopeo copy -q docker-archive:docker.tar oci:$PWD/skopeo:latest
        tar -cf zstd.tar -C zstd .
        gzip -k docker.tar; zstd -q oci.tar
        xz -k -T1 docker.tar; bzip2 -k docker.tar; printf 'LZIP' > docker.tar.lz
        "#,
    );
    let mut ids = std::collections::BTreeSet::new();
    for name in [
        "docker.tar",
        "docker.tar.gz",
        "docker.tar.xz",
        "docker.tar.bz2",
        "oci.tar",
        "oci.tar.zst",
        "podman-oci.tar",
        "zstd.tar",
    ] {
        let loaded = load(&scratch, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(loaded.len(), 1, "{name}");
        check_two(&scratch, &loaded[0]);
        ids.insert(loaded[0].image.id.clone());
        let names: Vec<String> = loaded[0].references.iter().map(Reference::familiar).collect();
        // A layout's mere tag names nothing.
        let want: &[&str] = if name == "zstd.tar" { &[] } else { &["localhost/two:2"] };
        assert_eq!(names, want, "{name}");
        assert_eq!(loaded[0].image.manifest.is_some(), !name.starts_with("docker"), "{name}");
        for layer in &loaded[0].image.layers {
            scratch.layers.remove(layer).unwrap();
        }
    }
    for name in ["zstd", "skopeo"] {
        let loaded =
            archive::load_directory(&scratch.content, &scratch.layers, &scratch.path(name), &()).unwrap();
        check_two(&scratch, &loaded.images[0]);
        for layer in &loaded.images[0].image.layers {
            scratch.layers.remove(layer).unwrap();
        }
    }
    let both = load(&scratch, "both.tar").unwrap();
    assert_eq!(
        both.iter().flat_map(|l| &l.references).map(Reference::familiar).collect::<Vec<_>>(),
        ["localhost/one:1", "localhost/two:2"]
    );
    assert_eq!(both[0].image.layers[0], both[1].image.layers[0], "the base is shared");
    let error = load(&scratch, "docker.tar.lz").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("compressed with lzip"), "{error}");
    assert!(scratch.leftovers().is_empty());
}

#[test]
fn what_we_save_others_load_and_so_do_we() {
    let scratch = Scratch::new();
    make_images(&scratch);
    sh(
        scratch.dir.path(),
        "STORAGE_DRIVER=vfs podman --root $PWD/st --runroot $PWD/rr save -q --format docker-archive -m -o both.tar localhost/one:1 localhost/two:2",
    );
    let chosen = |l: Loaded| Chosen { thing: l.image, references: l.references, referrers: Vec::new() };
    let images: Vec<_> = load(&scratch, "both.tar").unwrap().into_iter().map(chosen).collect();
    let save = |images: &[_]| {
        let mut out = Vec::new();
        archive::save(&scratch.content, &scratch.layers, images, &[], &mut out).unwrap();
        out
    };
    let saved = save(&images);
    assert!(saved == save(&images), "the same images give the same bytes");
    std::fs::write(scratch.path("saved.tar"), &saved).unwrap();

    // Our own door, into an empty store.
    let other = Layout::new(scratch.path("other"), scratch.path("other-run"));
    let (content, layers) = (Content::open(&other).unwrap(), Layers::open(&other).unwrap());
    let again = archive::load(&content, &layers, File::open(scratch.path("saved.tar")).unwrap()).unwrap();
    for (Chosen { thing: image, references, .. }, loaded) in images.iter().zip(&again.images) {
        assert_eq!(
            (&image.id, &image.layers, references),
            (&loaded.image.id, &loaded.image.layers, &loaded.references)
        );
    }

    // Other tools: as an OCI archive, as a docker-archive, by name; the same ids.
    sh(
        scratch.dir.path(),
        r#"
        export STORAGE_DRIVER=vfs
        opts="--root $PWD/st2 --runroot $PWD/rr2"
        podman $opts load -q -i saved.tar >/dev/null
        podman $opts images --format '{{.Repository}}:{{.Tag}} {{.Id}}' --no-trunc | sort > podman.txt
        mkdir layout; tar -xf saved.tar -C layout
        skopeo inspect --config docker-archive:saved.tar:localhost/two:2 | grep -q '"/bin/sh"'
        skopeo copy -q docker-archive:saved.tar:localhost/two:2 dir:$PWD/as-docker
        skopeo copy -q oci-archive:saved.tar:1 dir:$PWD/as-oci
        tar -tvf saved.tar > listing.txt
        "#,
    );
    let podman = std::fs::read_to_string(scratch.path("podman.txt")).unwrap();
    for (image, name) in images.iter().zip(["localhost/one:1", "localhost/two:2"]) {
        assert!(
            podman.lines().any(|line| line.starts_with(name) && line.ends_with(image.thing.id.hex())),
            "{podman}"
        );
    }
    let listing = std::fs::read_to_string(scratch.path("listing.txt")).unwrap();
    for name in ["oci-layout", "index.json", "manifest.json", "repositories", "blobs/sha256/"] {
        assert!(listing.contains(name), "{listing}");
    }
}

#[test]
fn a_root_filesystem_becomes_an_image() {
    let scratch = Scratch::new();
    let tar = Tar::new().dir("bin", 0o755).file("bin/sh", b"#!").end();
    let options = ImportOptions {
        config: ImageConfig { cmd: vec!["sh".to_owned()], ..ImageConfig::default() },
        comment: "Imported from -".to_owned(),
        created: Timestamp::from_seconds(1_700_000_000),
        ..ImportOptions::default()
    };
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &tar).unwrap();
        encoder.finish().unwrap()
    };
    let mut ids = Vec::new();
    for bytes in [&tar, &gzip] {
        let loaded =
            archive::import(&scratch.content, &scratch.layers, &mut &bytes[..], options.clone()).unwrap();
        assert_eq!(loaded.image.layers, [digest_of(&tar)]);
        assert_eq!((loaded.image.size_bytes, loaded.image.history.len()), (2, 1));
        assert_eq!(loaded.image.history[0].comment, "Imported from -");
        assert_eq!(loaded.image.config.cmd, ["sh"]);
        let config: Value =
            serde_json::from_slice(&scratch.content.read_small(&loaded.image.id).unwrap()).unwrap();
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
        ids.push(loaded.image.id);
    }
    assert_eq!(ids[0], ids[1]);
    let import = |bytes: &[u8]| {
        archive::import(&scratch.content, &scratch.layers, &mut { bytes }, options.clone()).unwrap_err()
    };
    assert_eq!(import(&tar[..1500]).kind(), ErrorKind::Corrupt);
    assert_eq!(import(&gzip[..gzip.len() - 5]).kind(), ErrorKind::Corrupt);
    assert_eq!(import(b"").kind(), ErrorKind::Corrupt);
    assert_eq!(
        import(b"BZh91AY&SY").to_string(),
        "import the root filesystem: the bzip2 stream is truncated"
    );
    assert_eq!(import(b"LZIP").kind(), ErrorKind::Unsupported);
    assert!(scratch.leftovers().is_empty());
}

/// An OCI layout of one image by hand, to be spoilt.
#[derive(Clone)]
pub(crate) struct Layouted {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    layer: Vec<u8>,
}

impl Layouted {
    pub(crate) fn new() -> Self {
        let layer = Tar::new().file("f", b"data").end();
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [digest_of(&layer).as_str()] } });
        let mut this = Self { files: Vec::new(), layer: layer.clone() };
        let config = this.blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let layer = this.blob(&layer, "application/vnd.oci.image.layer.v1.tar");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
        let manifest = this.blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        this.set("index.json", json!({ "schemaVersion": 2, "manifests": [manifest] }));
        this.files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        this
    }

    pub(crate) fn blob(&mut self, bytes: &[u8], kind: &str) -> Value {
        let digest = digest_of(bytes);
        self.files.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        json!({ "mediaType": kind, "digest": digest.as_str(), "size": bytes.len() })
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), value.to_string().into_bytes()));
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        self.files.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes)).end()
    }

    fn load(&self, scratch: &Scratch) -> dhow_model::Result<Vec<Loaded>> {
        load_bytes(scratch, &self.tar())
    }
}

fn load_bytes(scratch: &Scratch, bytes: &[u8]) -> dhow_model::Result<Vec<Loaded>> {
    std::fs::write(scratch.path("a.tar"), bytes).unwrap();
    load(scratch, "a.tar")
}

#[test]
fn damaged_members_are_named() {
    let scratch = Scratch::new();
    let whole = Layouted::new();
    // Each blob in turn: changed, shortened, missing.
    for at in 0..3 {
        for (spoil, why) in [(0, "digest"), (1, " bytes"), (2, "has no")] {
            let mut spoilt = Layouted { files: whole.files.clone(), layer: whole.layer.clone() };
            let name = spoilt.files[at].0.clone();
            match spoil {
                0 => {
                    // In the data of the layer's file; a digit or a brace of the others.
                    let at_byte = if spoilt.files[at].1.len() > 1024 { 513 } else { 20 };
                    spoilt.files[at].1[at_byte] ^= 0x01;
                }
                1 => spoilt.files[at].1.truncate(5),
                _ => {
                    spoilt.files.remove(at);
                }
            }
            let error = spoilt.load(&scratch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let text = error.to_string();
            let hex = name.rsplit('/').next().unwrap();
            assert!(text.contains(hex) && text.contains(why), "{name} {spoil}: {text}");
            assert!(scratch.layers.list().unwrap().is_empty() && scratch.content.list().unwrap().is_empty());
            assert!(scratch.leftovers().is_empty());
        }
    }
    assert_eq!(whole.load(&scratch).unwrap().len(), 1);
}

#[test]
fn truncated_and_foreign_files_are_refused() {
    let scratch = Scratch::new();
    let tar = Layouted::new().tar();
    for cut in [0, 1, 511, 600, 1024, tar.len() / 2] {
        let error = load_bytes(&scratch, &tar[..cut]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidArgument), "{cut}: {error}");
    }
    for (bytes, why) in [
        (&b"hello, this is no archive"[..], "ends 25 bytes into a block"),
        (&[b'x'; 2048], "header checksum"),
        (&Tar::new().file("bin/sh", b"x").end(), "neither index.json nor manifest.json"),
        (&Tar::new().file("repositories", b"{}").end(), "before version 1.10"),
        (&Tar::new().file("manifest.json", b"{}").end(), "manifest.json is not"),
        (&Tar::new().file("manifest.json", b"[]").end(), "no image in it"),
    ] {
        let error = load_bytes(&scratch, bytes).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn ambiguous_archives_are_refused() {
    let scratch = Scratch::new();
    let mut both = Layouted::new();
    let index: Value =
        serde_json::from_slice(&both.files.iter().find(|(n, _)| n == "index.json").unwrap().1).unwrap();
    let mut confused = index.clone();
    confused["layers"] = json!([]);
    both.set("index.json", confused);
    assert!(both.load(&scratch).unwrap_err().to_string().contains("both an index and a manifest"));

    let mut disagreeing = Layouted::new();
    let other =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [] } });
    disagreeing.set("other.json", other);
    disagreeing.set("manifest.json", json!([{ "Config": "other.json", "RepoTags": ["x:1"], "Layers": [] }]));
    assert!(disagreeing.load(&scratch).unwrap_err().to_string().contains("manifest.json has an image"));

    let mut twice = Layouted::new();
    twice.files.push(("./index.json".to_owned(), b"{}".to_vec()));
    assert!(twice.load(&scratch).unwrap_err().to_string().contains("is there twice"));

    let mut liar = Layouted::new();
    let mut entry = index;
    entry["manifests"][0]["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    liar.set("index.json", entry);
    assert!(liar.load(&scratch).unwrap_err().to_string().contains("ambiguous"));

    let mut short = Layouted::new();
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [] } });
    short.files.retain(|(name, _)| name != "index.json" && name != "oci-layout");
    short.set("c.json", config);
    short.set("manifest.json", json!([{ "Config": "c.json", "Layers": ["x"] }]));
    assert!(
        short.load(&scratch).unwrap_err().to_string().contains("manifest has 1 layers, its configuration 0")
    );
}

#[test]
fn an_index_leads_to_the_manifest_for_this_machine() {
    let scratch = Scratch::new();
    let mut layout = Layouted::new();
    let index: Value =
        serde_json::from_slice(&layout.files.iter().find(|(n, _)| n == "index.json").unwrap().1).unwrap();
    let mut ours = index["manifests"][0].clone();
    ours["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let foreign = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
        "digest": format!("sha256:{}", "0".repeat(64)), "platform": { "os": "linux", "architecture": "s390x" } });
    let proof = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
        "digest": format!("sha256:{}", "1".repeat(64)), "platform": { "os": "unknown", "architecture": "unknown" },
        "annotations": { "vnd.docker.reference.type": "attestation-manifest" } });
    let nested = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [foreign, proof, ours] });
    let mut nested = layout.blob(nested.to_string().as_bytes(), "application/vnd.oci.image.index.v1+json");
    nested["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/multi:1" });
    layout.set("index.json", json!({ "schemaVersion": 2, "manifests": [nested] }));
    let loaded = layout.load(&scratch).unwrap();
    assert_eq!((loaded.len(), loaded[0].references[0].familiar().as_str()), (1, "multi:1"));

    let only = json!({ "schemaVersion": 2, "manifests": [foreign.clone(), foreign] });
    layout.set("index.json", only);
    let error = layout.load(&scratch).unwrap_err();
    assert!(error.to_string().contains("no image for linux/amd64; it has: linux/s390x"), "{error}");
}

#[test]
fn layers_that_are_installed_need_not_be_in_the_archive() {
    let scratch = Scratch::new();
    let mut layout = Layouted::new();
    layout.load(&scratch).unwrap();
    layout.files.remove(1);
    let again = layout.load(&scratch).unwrap();
    assert!(again[0].layers[0].was_present);
}
