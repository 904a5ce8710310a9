//! What refers to an image comes with it and goes along with it: from registries that list it, from the tag that lists
//! it where they do not, from an index. And nothing that is wrong there spoils a pull, or is kept.

use super::fixture::{Asked, Fault, Front, Registry, Stored, put_blob, put_manifest, request};
use super::{digest_line, kept, prune, skopeo};
use crate::http::Api;
use crate::sandbox::Sandbox;
use serde_json::{Value, json};
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Pushes the sandbox's busybox, and forgets it here.
fn pushed(sandbox: &Sandbox, registry: &Registry, name: &str) -> Stored {
    let name = registry.name(name);
    sandbox.ok(["tag", "busybox", &name]);
    let pushed = sandbox.ok(["push", &name]);
    sandbox.ok(["rmi", &name]);
    manifest_of(&pushed)
}

/// What a push has made.
fn manifest_of(pushed: &str) -> Stored {
    let line = pushed.lines().find(|line| line.contains("digest: ")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    Stored { digest: words[2].to_owned(), size: words[4].parse().unwrap() }
}

/// A statement about a manifest, in a repository; what points at it.
pub(super) fn statement(registry: &Registry, repository: &str, subject: &Stored, text: &str) -> Value {
    let config = put_blob(registry, repository, b"{}").descriptor(EMPTY);
    let layer = put_blob(registry, repository, text.as_bytes()).descriptor("text/plain");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-statement",
        "config": config, "layers": [layer], "subject": subject.descriptor(MANIFEST),
        "annotations": { "says": text },
    });
    let mut entry = put_manifest(registry, repository, None, &manifest).descriptor(MANIFEST);
    entry["artifactType"] = json!("application/x-statement");
    entry
}

/// Two statements about what was pushed, under the tag that lists them.
pub(super) fn attach(registry: &Registry, repository: &str, pushed: &str) {
    let image = manifest_of(pushed);
    let entries =
        ["it is good", "it was looked at"].map(|text| statement(registry, repository, &image, text));
    put_manifest(registry, repository, Some(&tag_of(&image)), &index(&entries));
}

pub(super) fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
}

/// The tag that statements are listed under.
pub(super) fn tag_of(subject: &Stored) -> String {
    subject.digest.replace(':', "-")
}

/// An image with two statements under that tag.
fn registry_with_statements(sandbox: &Sandbox, name: &str) -> (Registry, Stored, Vec<Value>) {
    let registry = Registry::start(&sandbox.path("registry"));
    let image = pushed(sandbox, &registry, name);
    let entries = ["it is good", "it was looked at"].map(|text| statement(&registry, name, &image, text));
    put_manifest(&registry, name, Some(&tag_of(&image)), &index(&entries));
    (registry, image, entries.to_vec())
}

pub(super) fn referrers(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    sandbox.inspect(name)["Referrers"].as_array().cloned().unwrap_or_default()
}

fn digests(entries: &[Value]) -> Vec<&str> {
    let mut digests: Vec<&str> = entries.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    digests.sort_unstable();
    digests
}

pub(super) fn raw(name: &str) -> String {
    skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")])
}

fn nothing_stays(sandbox: &Sandbox) {
    prune(sandbox);
    assert_eq!(kept(sandbox), Vec::<String>::new());
}

#[test]
fn what_the_tag_lists_is_kept_and_goes_along() {
    let sandbox = Sandbox::with_busybox();
    let (registry, image, entries) = registry_with_statements(&sandbox, "team/app");
    sandbox.ok(["rmi", "busybox"]);
    let front = Front::of(&registry, |_, _| Fault::None);
    let name = front.name("team/app");
    let pulled = sandbox.ok(["pull", &name]);
    assert_eq!(digest_line(&pulled), image.digest);
    assert!(pulled.contains("\nReferrers: 2 kept with the image\n"), "{pulled}");
    let shown = referrers(&sandbox, &name);
    let descriptors: Vec<Value> = shown.iter().map(|shown| shown["Descriptor"].clone()).collect();
    assert_eq!(digests(&descriptors), digests(&entries));
    assert!(shown.iter().all(|shown| shown["Subject"] == image.digest.as_str()), "{shown:?}");
    assert!(shown.iter().all(|shown| shown["Descriptor"]["artifactType"] == "application/x-statement"));
    // Byte for byte, under their digests.
    for digest in digests(&entries) {
        let path = sandbox.root().join("content/sha256").join(digest.trim_start_matches("sha256:"));
        assert_eq!(crate::fixtures::sha256_of(&path), digest);
    }
    let text = crate::fixtures::digest_of(b"it is good");
    assert!(kept(&sandbox).contains(&text.trim_start_matches("sha256:").to_owned()));

    // Nothing of it is fetched again; what is new is.
    let count = |front: &Front| front.asked().iter().filter(|asked| asked.is_blob()).count();
    let before = count(&front);
    assert!(sandbox.ok(["pull", &name]).contains("Status: Image is up to date for"));
    // The configuration alone.
    assert_eq!(count(&front), before + 1);
    let third = statement(&registry, "team/app", &image, "it was looked at again");
    let all = [entries.as_slice(), &[third]].concat();
    put_manifest(&registry, "team/app", Some(&tag_of(&image)), &index(&all));
    assert!(sandbox.ok(["pull", &name]).contains("Referrers: 3 kept with the image"));

    // They take space, and are checked.
    let server = sandbox.serve();
    let mut api = Api::new(Path::new(server.address.strip_prefix("unix://").unwrap()));
    let mut df = || {
        let (_, body) = api.ask("GET", "/v1.44/system/df?type=image", b"");
        serde_json::from_slice::<Value>(&body).unwrap()["LayersSize"].as_u64().unwrap()
    };
    let with = df();
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));

    // To another repository, whose blobs are the registry's already; twice the same.
    let other = registry.name("other/app:2");
    sandbox.ok(["tag", &name, &other]);
    let pushed = sandbox.ok(["push", &other]);
    assert!(pushed.contains("Referrers: 3 of 3 pushed") && pushed.contains(&image.digest), "{pushed}");
    let listed = raw(&registry.name(&format!("other/app:{}", tag_of(&image))));
    let listed_entries: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(digests(listed_entries["manifests"].as_array().unwrap()), digests(&all));
    assert_eq!(listed_entries["manifests"][0]["artifactType"], "application/x-statement");
    assert!(listed_entries["manifests"][0]["annotations"]["says"].as_str().unwrap().starts_with("it "));
    for digest in digests(&all) {
        let copy = raw(&registry.name(&format!("other/app@{digest}")));
        assert_eq!(crate::fixtures::digest_of(copy.as_bytes()), digest);
    }
    sandbox.ok(["push", &other]);
    assert_eq!(raw(&registry.name(&format!("other/app:{}", tag_of(&image)))), listed);
    // What another tool has added stays.
    let fourth = statement(&registry, "other/app", &image, "somebody else's");
    put_manifest(&registry, "other/app", Some(&tag_of(&image)), &index(std::slice::from_ref(&fourth)));
    sandbox.ok(["push", &other]);
    let listed: Value =
        serde_json::from_str(&raw(&registry.name(&format!("other/app:{}", tag_of(&image))))).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 4);
    assert_eq!(listed["manifests"][0], fourth);

    // They go with the last name that the digest has.
    sandbox.ok(["rmi", &name]);
    assert_eq!(referrers(&sandbox, &other).len(), 3);
    sandbox.ok(["rmi", &other]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    assert!(df() < with);
}

#[test]
fn they_are_pushed_to_another_registry_and_mounted_within_one() {
    let sandbox = Sandbox::with_busybox();
    let (registry, image, entries) = registry_with_statements(&sandbox, "team/app");
    let name = registry.name("team/app");
    sandbox.ok(["pull", &name]);
    let mounted = registry.name("else/app:1");
    sandbox.ok(["tag", &name, &mounted]);
    let pushed = sandbox.ok(["push", &mounted]);
    // The layer, and three blobs of the statements.
    assert_eq!(pushed.matches(": Mounted from team/app\n").count(), 4, "{pushed}");
    let far = Registry::start(&sandbox.path("far"));
    let there = far.name("app");
    sandbox.ok(["tag", &name, &there]);
    let pushed = sandbox.ok(["push", &there]);
    assert!(pushed.contains("Referrers: 2 of 2 pushed") && pushed.contains(&image.digest), "{pushed}");
    sandbox.ok(["rmi", "-f", &name, &mounted, &there, "busybox"]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    let by_digest = format!("{there}@{}", image.digest);
    assert!(sandbox.ok(["pull", &by_digest]).contains("Referrers: 2 kept"));
    let shown = referrers(&sandbox, &by_digest);
    let descriptors: Vec<Value> = shown.iter().map(|shown| shown["Descriptor"].clone()).collect();
    assert_eq!(digests(&descriptors), digests(&entries));
    sandbox.ok(["rmi", &by_digest]);
    // All tags of a repository: the list's own tag is no image.
    assert!(sandbox.ok(["pull", "-a", &there]).contains("Referrers: 2 kept"));
    assert_eq!(sandbox.ok(["images", "--format", "{{.Tag}}"]), "latest");
    nothing_stays(&sandbox);
}

/// An index with an image and BuildKit's attestation of it, copied by skopeo to `copy`.
pub(super) fn attested(sandbox: &Sandbox, registry: &Registry, copy: &str) -> (Stored, Stored, Value) {
    let image = pushed(sandbox, registry, "built:image");
    let predicate = json!({ "_type": "https://in-toto.io/Statement/v0.1" }).to_string();
    let config = put_blob(registry, "built", b"{\"architecture\":\"unknown\",\"os\":\"unknown\"}");
    let layer = put_blob(registry, "built", predicate.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.in-toto+json")],
    });
    let mut attestation = put_manifest(registry, "built", None, &manifest).descriptor(MANIFEST);
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest,
    });
    let mut entry = image.descriptor(MANIFEST);
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let whole = put_manifest(registry, "built", Some("latest"), &index(&[entry, attestation.clone()]));
    let from = format!("docker://{}", registry.name("built"));
    let to = format!("docker://{}", registry.name(copy));
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&["copy", "-q", "--all", plain[0], plain[1], &from, &to]);
    (whole, image, attestation)
}

#[test]
fn the_attestations_of_an_index_are_kept() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let (whole, image, attestation) = attested(&sandbox, &registry, "copied");
    // And something that is about the index.
    let signature = statement(&registry, "copied", &whole, "signed");
    put_manifest(&registry, "copied", Some(&tag_of(&whole)), &index(std::slice::from_ref(&signature)));
    sandbox.ok(["rmi", "busybox"]);
    let name = registry.name("copied");
    let pulled = sandbox.ok(["pull", "--platform", "linux/amd64", &name]);
    assert_eq!(digest_line(&pulled), whole.digest);
    assert!(pulled.contains("Referrers: 2 kept with the image"), "{pulled}");
    let shown = referrers(&sandbox, &name);
    let subject_of = |digest: &Value| {
        let found = shown.iter().find(|shown| shown["Descriptor"]["digest"] == *digest);
        found.map(|found| (found["Kind"].as_str().unwrap(), found["Subject"].as_str().unwrap()))
    };
    assert_eq!(subject_of(&attestation["digest"]), Some(("attestation", image.digest.as_str())));
    assert_eq!(subject_of(&signature["digest"]), Some(("referrer", whole.digest.as_str())));

    // Where Docker has a place for it.
    let server = sandbox.serve();
    let mut api = Api::new(Path::new(server.address.strip_prefix("unix://").unwrap()));
    let mut get = |path: &str| serde_json::from_slice::<Value>(&api.ask("GET", path, b"").1).unwrap();
    let found = get(&format!("/v1.48/images/{name}/json?manifests=1"));
    let manifests = found["Manifests"].as_array().unwrap();
    assert_eq!((manifests.len(), &manifests[0]["Kind"]), (2, &json!("image")));
    assert_eq!(manifests[0]["ID"], image.digest.as_str());
    assert_eq!(manifests[0]["ImageData"]["Platform"]["architecture"], "amd64");
    assert_eq!(manifests[1]["Kind"], "attestation");
    assert_eq!(manifests[1]["AttestationData"]["For"], image.digest.as_str());
    assert_eq!(get("/v1.48/images/json?manifests=1")[0]["Manifests"], found["Manifests"]);
    assert_eq!(get(&format!("/v1.48/images/{name}/json"))["Manifests"], Value::Null);
    server.docker(["image", "inspect", &name]).ok();

    // The image alone, elsewhere: what an index said the tag's list says there.
    let alone = registry.name("alone:1");
    sandbox.ok(["tag", &name, &alone]);
    let pushed = sandbox.ok(["push", &alone]);
    assert!(pushed.contains("Referrers: 1 of 1 pushed") && pushed.contains(&image.digest), "{pushed}");
    sandbox.ok(["rmi", "-f", &name, &alone]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    let pulled = sandbox.ok(["pull", &alone]);
    assert!(pulled.contains("Referrers: 1 kept with the image"), "{pulled}");
    assert_eq!(referrers(&sandbox, &alone)[0]["Kind"], "attestation");
    nothing_stays(&sandbox);
}

/// Whether it asks a registry for its list.
fn is_list(asked: &Asked) -> bool {
    asked.path.contains("/referrers/")
}

fn listing(entries: &[Value]) -> Fault {
    Fault::Answer("200 OK", vec![("Content-Type", INDEX.to_owned())], index(entries).to_string())
}

#[test]
fn a_registry_that_lists_them_is_asked_and_no_tag_is_made() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let image = pushed(&sandbox, &registry, "app");
    let entries = ["one", "two"].map(|text| statement(&registry, "app", &image, text));
    let subject = image.digest.clone();
    let front = Front::of(&registry, move |asked, _| {
        let rest = asked.path.split("/referrers/").nth(1).unwrap_or_default();
        if !is_list(asked) {
            let is_statement = asked.method == "PUT" && asked.path.contains("/manifests/sha256:");
            return if is_statement { Fault::Header("OCI-Subject", subject.clone()) } else { Fault::None };
        }
        // In two parts.
        match rest.split_once("?last=") {
            None if rest == subject => {
                let next = format!("<{}?last=1>; rel=\"next\"", asked.path);
                let headers = vec![("Content-Type", INDEX.to_owned()), ("Link", next)];
                Fault::Answer("200 OK", headers, index(&entries[..1]).to_string())
            }
            Some((digest, "1")) if digest == subject => listing(&entries[1..]),
            _ => listing(&[]),
        }
    });
    let name = front.name("app");
    assert!(sandbox.ok(["pull", &name]).contains("Referrers: 2 kept with the image"));
    let to_tag = |asked: &Asked| asked.path.contains("/manifests/sha256-");
    assert!(!front.asked().iter().any(to_tag));
    let other = front.name("other");
    sandbox.ok(["tag", &name, &other]);
    assert!(sandbox.ok(["push", &other]).contains("Referrers: 2 of 2 pushed"));
    assert!(!front.asked().iter().any(to_tag));
    let (status, _) = request(&registry, "GET", "/v2/other/tags/list", "application/json", b"");
    assert_eq!(status, 200);
    sandbox.ok(["rmi", "-f", &name, &other, "busybox"]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_left_out_and_the_image_comes() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let image = pushed(&sandbox, &registry, "app");
    let id = sandbox.inspect("busybox")["Id"].clone();
    sandbox.ok(["rmi", "busybox"]);
    let good = statement(&registry, "app", &image, "good");
    let stranger = Stored { digest: format!("sha256:{}", "ab".repeat(32)), size: 7 };
    let other = statement(&registry, "app", &stranger, "about another");
    let blob = crate::fixtures::digest_of(b"good");
    let huge = |entry: &Value| {
        let mut entry = entry.clone();
        entry["size"] = json!(1u64 << 40);
        entry
    };
    let config = put_blob(&registry, "app", b"{}").descriptor(EMPTY);
    let with_layer = |layer: Value| {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "subject": image.descriptor(MANIFEST),
        });
        put_manifest(&registry, "app", None, &manifest).descriptor(MANIFEST)
    };
    let text = put_blob(&registry, "app", b"lied about").descriptor("text/plain");
    let (liar, giant) = (with_layer(with_size(&text, 3)), with_layer(huge(&text)));
    let silent = put_manifest(
        &registry,
        "app",
        None,
        &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [text] }),
    );
    let slow = put_blob(&registry, "app", &super::noise(64 << 10, 5));
    let dripping = with_layer(slow.descriptor("text/plain"));
    let slow_path = format!("/v2/app/blobs/{}", slow.digest);
    let nested = put_manifest(&registry, "app", None, &index(std::slice::from_ref(&good)));
    let many: Vec<Value> = (0..150)
        .map(|n| json!({ "mediaType": MANIFEST, "digest": format!("sha256:{n:064x}"), "size": 7 }))
        .collect();
    let million = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        vec![good.to_string(); 1_000_000 / 8].join(",")
    );
    let typed = || vec![("Content-Type", INDEX.to_owned())];
    let answer = |status, headers, body: &str| (status, headers, body.to_owned());
    let listed = |entries: &[Value]| answer("200 OK", typed(), &index(entries).to_string());
    let html = vec![("Content-Type", "text/html".to_owned())];
    let cases = [
        ("it fails", answer("500 Internal Server Error", Vec::new(), "no"), "registry 127.0.0.1:"),
        ("it forbids", answer("403 Forbidden", Vec::new(), ""), "the answer is 403 Forbidden"),
        ("it has a page for people", answer("200 OK", html, "<html>"), ""),
        ("no JSON", answer("200 OK", typed(), "<html>"), "is not a valid manifest or index"),
        (
            "a manifest",
            answer("200 OK", typed(), r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
            "is not a valid",
        ),
        ("no end", answer("200 OK", typed(), &million), "bytes, which none needs"),
        ("too many", listed(&many), "50 of sha256:"),
        ("about another", listed(&[other]), "it is about \"sha256:abababab"),
        ("about nothing", listed(&[silent.descriptor(MANIFEST)]), "it does not say that it is about"),
        ("a large manifest", listed(&[huge(&good)]), "its manifest has 1099511627776 bytes"),
        ("a large blob", listed(&[giant]), "of it has 1099511627776 bytes"),
        ("a blob of another size", listed(&[liar]), "of it is not what its manifest says"),
        ("a wrong size", listed(&[with_size(&good, 3)]), "its manifest is not what its digest says"),
        ("an index", listed(&[nested.descriptor(INDEX)]), "it is of type"),
        ("no digest", listed(&[json!({ "mediaType": MANIFEST, "digest": "\u{1b}[2Jx", "size": 1 })]), "x: "),
        ("another manifest", listed(std::slice::from_ref(&good)), "its manifest is not what its digest says"),
        ("another blob", listed(std::slice::from_ref(&good)), "of it is not what its manifest says"),
        ("a blob that never comes whole", listed(std::slice::from_ref(&good)), "Referrers left out: "),
        ("a blob that drips", listed(std::slice::from_ref(&dripping)), "it takes too long"),
        ("a manifest that stalls", listed(std::slice::from_ref(&good)), "Referrers left out: "),
    ];
    let manifest_path = format!("/v2/app/manifests/{}", good["digest"].as_str().unwrap());
    let blob_path = format!("/v2/app/blobs/{blob}");
    for (what, (status, headers, body), said) in cases {
        let (manifest_path, blob_path) = (manifest_path.clone(), blob_path.clone());
        let slow_path = slow_path.clone();
        let front = Front::of(&registry, move |asked, _| match what {
            _ if is_list(asked) => Fault::Answer(status, headers.clone(), body.clone()),
            "a blob that drips" if asked.path == slow_path => Fault::Throttle(16),
            "a manifest that stalls" if asked.path == manifest_path => Fault::Stall(3),
            "another manifest" if asked.path == manifest_path => Fault::Flip(9),
            "another blob" if asked.path == blob_path => Fault::Flip(0),
            "a blob that never comes whole" if asked.path == blob_path => Fault::Cut(2),
            _ => Fault::None,
        });
        let name = front.name("app");
        let pulled = sandbox.ok(["pull", &name]);
        assert!(pulled.contains("Status: Downloaded newer image"), "{what}: {pulled}");
        let lines: Vec<&str> = pulled.lines().filter(|line| line.starts_with("Referrers")).collect();
        assert_eq!(lines.is_empty(), said.is_empty(), "{what}: {pulled}");
        assert!(said.is_empty() || lines[0].contains(said), "{what}: {pulled}");
        let names_it = |line: &&str| line.contains("registry 127.0.0.1:") || line.contains(" of sha256:");
        assert!(lines.iter().take(3).all(names_it), "{what}: {pulled}");
        assert!(lines.len() <= 4 && !pulled.contains('\u{1b}'), "{what}: {pulled}");
        assert_eq!(sandbox.inspect(&name)["Id"], id, "{what}");
        assert_eq!(referrers(&sandbox, &name), Vec::<Value>::new(), "{what}");
        let checked = sandbox.dhow(["system", "check", "-q"]);
        assert_eq!((checked.code, checked.stdout.as_str()), (0, ""), "{what}");
        // The image's own two blobs, and nothing else.
        let blobs = crate::sandbox::names_in(&sandbox.root().join("content/sha256"));
        assert_eq!(blobs.len(), 2, "{what}: {blobs:?}");
        sandbox.ok(["rmi", &name]);
        assert_eq!(kept(&sandbox), Vec::<String>::new(), "{what}");
    }
}

fn with_size(entry: &Value, size: u64) -> Value {
    let mut entry = entry.clone();
    entry["size"] = json!(size);
    entry
}

#[test]
fn damage_is_named_and_repaired_without_the_image() {
    let sandbox = Sandbox::with_busybox();
    let (registry, _, entries) = registry_with_statements(&sandbox, "app");
    let name = registry.name("app");
    sandbox.ok(["pull", &name]);
    let content = sandbox.root().join("content/sha256");
    let blob = crate::fixtures::digest_of(b"it is good");
    std::fs::write(content.join(blob.trim_start_matches("sha256:")), "it is baad").unwrap();
    let missing = entries[1]["digest"].as_str().unwrap();
    std::fs::remove_file(content.join(missing.trim_start_matches("sha256:"))).unwrap();
    let checked = sandbox.dhow(["system", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    for (digest, what) in [(blob.as_str(), "is corrupt"), (missing, "it is missing")] {
        let line = checked.stdout.lines().find(|line| line.contains(digest)).unwrap_or_default();
        assert!(line.contains(what) && line.contains(&format!("needed by {name}")), "{checked:?}");
    }
    sandbox.dhow(["system", "check", "--repair"]);
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
    assert_eq!(referrers(&sandbox, &name), Vec::<Value>::new());
    sandbox.ok(["run", "--rm", "--network", "none", &name, "true"]);
    assert!(sandbox.ok(["pull", &name]).contains("Referrers: 2 kept with the image"));
    sandbox.ok(["rmi", &name, "busybox"]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}
