//! What archives say about their images: in the forms that Docker, BuildKit and oras write, and wrong.

use crate::archives::Layouted;
use crate::support::Scratch;
use dhow_model::Digest;
use dhow_store::archive::{self, Archived, Chosen};
use dhow_store::content::digest_of;
use dhow_store::db::Artifact;
use serde_json::{Value, json};
use std::fs::File;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SUBJECT: &str = "io.containerd.manifest.subject";

/// A layout of one image, whose name is `app:1`; its entry, and that of its configuration.
fn layout() -> (Layouted, Value) {
    let mut layout = Layouted::new();
    let index: Value = serde_json::from_slice(file(&layout, "index.json")).unwrap();
    let mut image = index["manifests"][0].clone();
    image["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/app:1" });
    list(&mut layout, &[image.clone()]);
    (layout, image)
}

fn file<'a>(layout: &'a Layouted, name: &str) -> &'a [u8] {
    &layout.files.iter().find(|(known, _)| known == name).unwrap().1
}

fn list(layout: &mut Layouted, entries: &[Value]) {
    layout.set("index.json", json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }));
}

fn manifest(layout: &mut Layouted, text: &str, subject: Option<&Value>) -> Value {
    let config = layout.blob(b"{}", "application/vnd.oci.empty.v1+json");
    let layer = layout.blob(text.as_bytes(), "text/plain");
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-said",
        "config": config, "layers": [layer] });
    if let Some(subject) = subject {
        manifest["subject"] = json!({ "mediaType": MANIFEST, "digest": subject["digest"], "size": 7 });
    }
    layout.blob(manifest.to_string().as_bytes(), MANIFEST)
}

fn with(entry: &Value, key: &str, value: Value) -> Value {
    let mut entry = entry.clone();
    entry[key] = value;
    entry
}

fn load(scratch: &Scratch, layout: &Layouted) -> Archived {
    std::fs::write(scratch.path("a.tar"), layout.tar()).unwrap();
    archive::load(&scratch.content, &scratch.layers, File::open(scratch.path("a.tar")).unwrap()).unwrap()
}

fn digest(value: &Value) -> Digest {
    Digest::parse(value["digest"].as_str().unwrap()).unwrap()
}

#[test]
fn every_form_of_telling_it_is_understood() {
    let scratch = Scratch::new();
    let (mut layout, image) = layout();
    // As oras writes it, as containerd does, as BuildKit.
    let plain = manifest(&mut layout, "one", Some(&image));
    let typed =
        with(&manifest(&mut layout, "two", Some(&image)), "artifactType", json!("application/x-said"));
    let said = manifest(&mut layout, "three", Some(&image));
    let said = with(
        &said,
        "annotations",
        json!({ SUBJECT: image["digest"],
        "containerd.io/distribution.source.reg.example": "team/app" }),
    );
    let attestation = manifest(&mut layout, "four", None);
    let attestation = with(
        &attestation,
        "annotations",
        json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"] }),
    );
    list(&mut layout, &[image.clone(), plain, typed, said.clone(), attestation.clone()]);
    let loaded = load(&scratch, &layout);
    assert_eq!((loaded.images.len(), loaded.artifacts.len()), (1, 0));
    assert_eq!(loaded.left_out, Vec::<String>::new());
    assert_eq!(loaded.referrers.len(), 4);
    let find = |entry: &Value| {
        loaded.referrers.iter().find(|one| one.manifest.digest == digest(entry)).unwrap().clone()
    };
    assert_eq!(find(&said).repository, "reg.example/team/app");
    assert_eq!(find(&attestation).reference_type.as_deref(), Some("attestation-manifest"));
    assert!(find(&said).names_subject && !find(&attestation).names_subject);
    assert!(loaded.referrers.iter().all(|one| one.subject == digest(&image)));
    assert_eq!(loaded.known_by[0].1.to_string(), format!("docker.io/library/app@{}", digest(&image)));
    assert_eq!(loaded.images[0].image.manifest, Some(digest(&image)));
    for blob in loaded.referrers.iter().flat_map(|one| one.parts()) {
        scratch.content.verify(&blob.digest).unwrap();
    }

    // The same, beside the image in an index; and one about the index.
    let nested = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image, said, attestation] });
    let mut nested = layout.blob(nested.to_string().as_bytes(), INDEX);
    let about_index = manifest(&mut layout, "five", Some(&nested));
    nested["annotations"] = image["annotations"].clone();
    list(&mut layout, &[nested.clone(), about_index]);
    let scratch = Scratch::new();
    let loaded = load(&scratch, &layout);
    assert_eq!((loaded.referrers.len(), loaded.left_out.as_slice()), (3, &[][..]));
    let by: Vec<String> = loaded.known_by.iter().map(|(_, reference)| reference.to_string()).collect();
    assert!(by.contains(&format!("docker.io/library/app@{}", digest(&nested))), "{by:?}");
    assert!(scratch.content.contains(&digest(&nested)));
}

#[test]
fn what_is_wrong_is_left_out_and_the_image_loads() {
    let (layout, image) = layout();
    let about = json!({ SUBJECT: image["digest"] });
    let stranger = json!({ "digest": format!("sha256:{}", "ab".repeat(32)) });
    type Case = (&'static str, &'static str, fn(&mut Layouted, &Value) -> Value);
    let cases: [Case; 10] = [
        ("its manifest is missing", "its manifest is not in the archive", |layout, image| {
            let entry = manifest(layout, "x", Some(image));
            let name = format!("blobs/sha256/{}", digest(&entry).hex());
            layout.files.retain(|(known, _)| *known != name);
            entry
        }),
        ("its blob is missing", "of it is not in the archive", |layout, image| {
            let entry = manifest(layout, "x", Some(image));
            let name = format!("blobs/sha256/{}", digest_of(b"x").hex());
            layout.files.retain(|(known, _)| *known != name);
            entry
        }),
        ("its blob is another", "of it is not what its manifest says", |layout, image| {
            let entry = manifest(layout, "x", Some(image));
            let name = format!("blobs/sha256/{}", digest_of(b"x").hex());
            layout.files.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, b)| *b = b"y".to_vec());
            entry
        }),
        ("its blob is longer", "of it is not what its manifest says", |layout, image| {
            let entry = manifest(layout, "x", Some(image));
            let name = format!("blobs/sha256/{}", digest_of(b"x").hex());
            layout.files.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, b)| b.push(b'x'));
            entry
        }),
        ("its manifest is another", "its manifest is not what its digest says", |layout, image| {
            let entry = manifest(layout, "x", Some(image));
            let name = format!("blobs/sha256/{}", digest(&entry).hex());
            layout.files.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, b)| b[0] = b' ');
            entry
        }),
        ("its size is another", "its manifest is not what its digest says", |layout, image| {
            with(&manifest(layout, "x", Some(image)), "size", json!(3))
        }),
        ("it is huge", "its manifest has 1099511627776 bytes", |layout, image| {
            with(&manifest(layout, "x", Some(image)), "size", json!(1u64 << 40))
        }),
        ("it is about another", "it is about \"sha256:abab", |layout, _| {
            let stranger = json!({ "digest": format!("sha256:{}", "ab".repeat(32)) });
            manifest(layout, "x", Some(&stranger))
        }),
        ("it is about nothing", "it does not say that it is about", |layout, _| manifest(layout, "x", None)),
        ("it is an index", "it is of type", |layout, _| {
            layout.blob(json!({ "schemaVersion": 2, "manifests": [] }).to_string().as_bytes(), INDEX)
        }),
    ];
    let check = |what: &str, layout: &Layouted, said: &str| {
        let scratch = Scratch::new();
        let loaded = load(&scratch, layout);
        assert_eq!(
            (loaded.images.len(), loaded.referrers.len(), loaded.artifacts.len()),
            (1, 0, 0),
            "{what}"
        );
        assert_eq!(loaded.left_out.is_empty(), said.is_empty(), "{what}: {:?}", loaded.left_out);
        assert!(said.is_empty() || loaded.left_out[0].contains(said), "{what}: {:?}", loaded.left_out);
        assert_eq!(loaded.known_by, [], "{what}");
        assert!(scratch.leftovers().is_empty(), "{what}");
    };
    for (what, said, make) in cases {
        let mut layout = layout.clone();
        let entry = with(&make(&mut layout, &image), "annotations", about.clone());
        list(&mut layout, &[image.clone(), entry]);
        check(what, &layout, said);
    }
    // Said to be about what is not in the archive; and a document that says it has the image, and lies.
    let mut foreign = layout.clone();
    let lonely = manifest(&mut foreign, "x", Some(&stranger));
    list(&mut foreign, &[image.clone(), lonely]);
    check("about a stranger", &foreign, "which is no image of the archive");
    let liar = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": MANIFEST, "digest": stranger["digest"], "size": 7 } ] });
    let liar = foreign.blob(liar.to_string().as_bytes(), INDEX);
    let about_liar = manifest(&mut foreign, "x", Some(&liar));
    list(&mut foreign, &[image.clone(), about_liar]);
    check("about a liar", &foreign, "which is no image of the archive");
    // An attestation of the image for another machine is nothing to speak of.
    let other = with(
        &manifest(&mut foreign, "x", None),
        "annotations",
        json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": stranger["digest"] }),
    );
    list(&mut foreign, &[image.clone(), other]);
    check("for another machine", &foreign, "");

    // Thousands of them.
    let mut many = layout.clone();
    let good = manifest(&mut many, "good", Some(&image));
    let mut entries = vec![image.clone(), with(&good, "annotations", about.clone())];
    entries.extend((0..20_000).map(|n| {
        json!({ "mediaType": MANIFEST, "digest": format!("sha256:{n:064x}"), "size": 7, "annotations": about })
    }));
    list(&mut many, &entries);
    let loaded = load(&Scratch::new(), &many);
    assert_eq!((loaded.images.len(), loaded.referrers.len()), (1, 1));
    assert_eq!(loaded.left_out.len(), 100, "ninety-nine reasons, and how many more there are");
    assert!(loaded.left_out[0].starts_with("19901 of sha256:"), "{}", loaded.left_out[0]);
}

#[test]
fn artifacts_come_and_go_byte_for_byte() {
    let scratch = Scratch::new();
    let mut layout = Layouted::new();
    let artifact = manifest(&mut layout, "weights", None);
    let named = with(&artifact, "annotations", json!({ "io.containerd.image.name": "reg.example/model:1" }));
    let statement = manifest(&mut layout, "good", Some(&artifact));
    list(&mut layout, &[named, statement]);
    let loaded = load(&scratch, &layout);
    assert_eq!((loaded.images.len(), loaded.artifacts.len(), loaded.referrers.len()), (0, 1, 1));
    let (artifact, references) = loaded.artifacts.into_iter().next().unwrap();
    assert_eq!(references[0].to_string(), "reg.example/model:1");
    let chosen: Chosen<Artifact> =
        Chosen { thing: artifact.clone(), references, referrers: loaded.referrers };
    let mut out = Vec::new();
    archive::save(&scratch.content, &scratch.layers, &[], std::slice::from_ref(&chosen), &mut out).unwrap();
    let other = Scratch::new();
    std::fs::write(other.path("b.tar"), &out).unwrap();
    let again =
        archive::load(&other.content, &other.layers, File::open(other.path("b.tar")).unwrap()).unwrap();
    assert_eq!((again.artifacts[0].0.id(), &again.artifacts[0].1), (artifact.id(), &chosen.references));
    assert_eq!(again.referrers[0].manifest, chosen.referrers[0].manifest);
    for blob in artifact.parts().into_values().chain(again.referrers[0].parts()) {
        other.content.verify(&blob.digest).unwrap();
    }
    // One that is not whole is an error.
    let name = format!("blobs/sha256/{}", digest_of(b"weights").hex());
    layout.files.retain(|(known, _)| *known != name);
    let third = Scratch::new();
    std::fs::write(third.path("c.tar"), layout.tar()).unwrap();
    let error = archive::load(&third.content, &third.layers, File::open(third.path("c.tar")).unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("the archive has no \"blobs/sha256/"), "{error}");
}
