//! Images that other tools made, and what becomes of them.

use crate::fixtures;
use crate::sandbox::Sandbox;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// What dhow itself puts into a container, and where the tests put the lister: not of the image.
const NOT_OF_THE_IMAGE: [&str; 8] =
    [".dockerenv", "dev", "mnt", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// The tree of an image as a container sees it, as the maker's listing is made.
#[track_caller]
fn tree_in_container(sandbox: &Sandbox, image: &str) -> String {
    let programs = fixtures::tree_program().parent().unwrap();
    let volume = format!("{}:/mnt:ro", programs.display());
    let flags =
        ["run", "--rm", "--network", "none", "-w", "/", "--cap-add", "DAC_READ_SEARCH", "-v", &volume];
    sandbox.ok(flags.iter().chain(&[image, "/mnt/tree", "/"]).chain(&NOT_OF_THE_IMAGE))
}

/// What the makers' own tools lose when they unpack their archives, as the archives have it: an attribute
/// without a value, a time before 1970.
const LOST_BY_THE_MAKERS: [(&str, &str, &str); 2] = [
    ("/attributes ", " user.binary=00ff0a22", " user.binary=00ff0a22 user.empty="),
    ("/lists/before-1970 ", " mtime=0 ", " mtime=-152391233 "),
];

/// A maker's line, with what it lost put back.
fn as_archived(line: &str) -> String {
    let lost = LOST_BY_THE_MAKERS.iter().find(|(path, ..)| line.starts_with(path));
    lost.map_or_else(|| line.to_owned(), |(_, shown, archived)| line.replace(shown, archived))
}

/// Compares two listings line by line, so that a difference names the file.
#[track_caller]
fn assert_same_tree(image: &str, ours: &str, makers: &str) {
    // The root itself is in no archive: every tool has its own idea of its mode and its time. The files that
    // dhow mounts over are the maker's own only on the maker's side.
    let relevant = |line: &&str| {
        let path = line.split(' ').next().unwrap_or_default();
        path != "/" && !NOT_OF_THE_IMAGE.contains(&path.trim_start_matches('/'))
    };
    let ours: BTreeSet<String> = ours.lines().filter(relevant).map(str::to_owned).collect();
    let makers: BTreeSet<String> = makers.lines().filter(relevant).map(as_archived).collect();
    let missing: Vec<&String> = makers.difference(&ours).take(12).collect();
    let extra: Vec<&String> = ours.difference(&makers).take(12).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{image}: the maker shows {missing:#?}\nwe show {extra:#?}"
    );
}

/// Loads one of the forms of the nested image and compares its tree with the maker's.
#[track_caller]
fn load_and_compare(form: &str) {
    let nested = fixtures::nested();
    let sandbox = Sandbox::new();
    let path = nested.directory.join(form);
    let told = sandbox.ok(["load", "-i", path.to_str().unwrap()]);
    let image = told.rsplit_once(": ").map_or("", |(_, name)| name).to_owned();
    assert!(told.starts_with("Loaded image"), "{told}");
    assert_same_tree(form, &tree_in_container(&sandbox, &image), &nested.listing);
    let config = sandbox.inspect(&image)["Config"].take();
    assert_eq!(config["WorkingDir"], "/deep");
    assert_eq!(config["Labels"]["made-by"], "buildah");
    let has = |line: &str| config["Env"].as_array().unwrap().iter().any(|e| e == line);
    assert!(has("LAYER=3") && !has("LAYER=1"), "{config}");
    // `RUN`-less layers: three that have files, in `history` as their maker wrote it.
    assert_eq!(sandbox.inspect(&image)["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(sandbox.ok(["run", "--rm", &image, "sh", "-c", "pwd; echo $LAYER"]), "/deep\n3");
    // Loading it again changes nothing, and finds everything there.
    sandbox.ok(["load", "-i", path.to_str().unwrap()]);
    assert_eq!(sandbox.ok(["images", "-aq"]).lines().count(), 1);
}

#[test]
fn a_docker_archive_by_buildah() {
    load_and_compare("docker.tar");
}

#[test]
fn a_docker_archive_compressed_as_a_whole() {
    load_and_compare("docker.tar.gz");
}

#[test]
fn a_docker_archive_by_podman_save() {
    load_and_compare("podman.tar");
}

#[test]
fn an_oci_archive_with_gzip_layers() {
    load_and_compare("oci.tar");
}

#[test]
fn an_oci_archive_compressed_with_zstd() {
    load_and_compare("oci.tar.zst");
}

#[test]
fn an_oci_archive_with_zstd_layers_by_skopeo() {
    load_and_compare("oci-zstd.tar");
}

#[test]
fn an_oci_layout_directory_by_skopeo() {
    load_and_compare("oci");
}

#[test]
fn what_is_saved_is_what_was_loaded_for_us_and_for_others() {
    let nested = fixtures::nested();
    let sandbox = Sandbox::new();
    sandbox.ok(["load", "-i", nested.directory.join("oci.tar").to_str().unwrap()]);
    let image = sandbox.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let id = sandbox.inspect(&image)["Id"].as_str().unwrap().to_owned();
    let saved = sandbox.path("saved.tar");
    sandbox.ok(["save", "-o", saved.to_str().unwrap(), &image]);

    let other = Sandbox::new();
    other.ok(["load", "-i", saved.to_str().unwrap()]);
    assert_eq!(other.inspect(&image)["Id"], id.as_str(), "the id survives");
    assert_same_tree("saved", &tree_in_container(&other, &image), &nested.listing);

    // skopeo reads it both ways, and computes the same digests.
    for transport in ["docker-archive", "oci-archive"] {
        let output = std::process::Command::new("skopeo")
            .args(["inspect", "--config", "--raw", &format!("{transport}:{}", saved.display())])
            .output()
            .unwrap();
        assert!(output.status.success(), "{transport}: {}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], sandbox.inspect(&image)["RootFS"]["Layers"], "{transport}");
    }
    // To standard output, and back from standard input.
    let piped = sandbox.command(["save", &image]).output().unwrap();
    assert!(piped.status.success() && piped.stdout.len() > 1 << 20);
    let third = Sandbox::new();
    assert!(third.dhow_with_input(["load"], &piped.stdout).ok().ends_with(&image));
}

#[test]
fn tags_are_names_and_images_go_with_the_last() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.inspect("busybox")["Id"].as_str().unwrap().to_owned();
    sandbox.ok(["tag", "busybox", "registry.example:5000/team/tools:1.0"]);
    sandbox.ok(["tag", &id[7..19], "copy"]);
    for name in [
        "busybox:latest",
        "docker.io/library/busybox",
        "copy",
        "registry.example:5000/team/tools:1.0",
        &id,
        &id[7..15],
    ] {
        assert_eq!(sandbox.inspect(name)["Id"], id.as_str(), "{name}");
    }
    let table = sandbox.ok(["images"]);
    let head: Vec<&str> =
        table.lines().next().unwrap().split("  ").map(str::trim).filter(|h| !h.is_empty()).collect();
    assert_eq!(head, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(sandbox.ok(["rmi", "copy"]), "Untagged: copy:latest");
    sandbox.dhow(["rmi", &id]).fails(1, "must be forced");
    sandbox.ok(["rmi", "registry.example:5000/team/tools:1.0"]);
    let container = sandbox.ok(["create", "busybox", "true"]);
    sandbox.dhow(["rmi", "busybox"]).fails(1, &container[..12]);
    sandbox.ok(["rm", &container]);
    // A tag in use goes by force; an image that runs does not. Containers are then told by the image's id.
    sandbox.ok(["run", "-d", "--name", "runs", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.dhow(["rmi", "busybox"]).fails(1, "(must force)");
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Image}}"]), "busybox");
    assert_eq!(sandbox.ok(["rmi", "-f", "busybox"]), "Untagged: busybox:latest");
    sandbox.dhow(["rmi", "-f", &id]).fails(1, "(cannot be forced)");
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Image}}"]), &id[7..19]);
    assert_eq!(sandbox.ok(["ps", "-q", "--filter", "ancestor=busybox"]), "");
    assert!(!sandbox.ok(["ps", "-q", "--filter", &format!("ancestor={id}")]).is_empty());
    assert_eq!(sandbox.ok(["exec", "runs", "echo", "still"]), "still");
    sandbox.ok(["tag", &id, "busybox"]);
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Image}}"]), "busybox");
    sandbox.ok(["rm", "-f", "runs"]);
    let told = sandbox.ok(["rmi", "busybox"]);
    assert!(told.contains("Untagged: busybox:latest") && told.contains(&format!("Deleted: {id}")), "{told}");
    assert_eq!(sandbox.ok(["images", "-aq"]), "");
}

#[test]
fn imports_take_changes_and_urls() {
    let sandbox = Sandbox::new();
    let tar = fixtures::busybox_tar();
    let changes = ["-c", "CMD [\"echo\", \"changed\"]", "-c", "ENV A=1", "-c", "WORKDIR /home", "-m", "why"];
    let id = sandbox.ok(["import"].iter().chain(&changes).chain(&[tar.to_str().unwrap(), "made"]));
    assert_eq!(sandbox.inspect("made")["Id"], id.as_str());
    assert_eq!(sandbox.ok(["run", "--rm", "made"]), "changed");
    assert_eq!(sandbox.ok(["run", "--rm", "made", "sh", "-c", "pwd; echo $A"]), "/home\n1");
    assert_eq!(sandbox.inspect("made")["Comment"], "why");
    // As distributions give them.
    for program in ["xz", "bzip2"] {
        let packed = sandbox.path(program);
        let mut command = std::process::Command::new(program);
        let status = command.args(["-1", "-c"]).arg(tar).stdout(fs::File::create(&packed).unwrap()).status();
        assert!(status.unwrap().success());
        sandbox.ok(["import", packed.to_str().unwrap(), "packed"]);
        assert_eq!(sandbox.inspect("packed")["RootFS"], sandbox.inspect("made")["RootFS"], "{program}");
        let whole = fs::read(&packed).unwrap();
        let ended = sandbox.dhow_with_input(["import", "-"], &whole[..whole.len() / 2]);
        ended.fails(1, &format!("the {program} stream is truncated"));
    }

    // A server of one file, on a port of its own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/busybox.tar", listener.local_addr().unwrap());
    let bytes = fs::read(tar).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
        let _ = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&bytes));
    });
    sandbox.ok(["import", &url, "fetched"]);
    server.join().unwrap();
    assert_eq!(sandbox.ok(["run", "--rm", "fetched", "echo", "works"]), "works");
    assert_eq!(sandbox.inspect("fetched")["RootFS"], sandbox.inspect("made")["RootFS"]);
}

#[test]
fn many_layers_work() {
    // overlayfs takes 500 lower directories; the fsconfig string form took fewer than 128.
    let sandbox = Sandbox::new();
    let directory = sandbox.path("many");
    fs::create_dir_all(directory.join("tree")).unwrap();
    let mut names = Vec::new();
    let mut ids = Vec::new();
    for number in 0..160 {
        let path = directory.join(format!("tree/{number}.tar"));
        let mut tar =
            if number == 0 { fixtures::Tar::with_busybox(&path) } else { fixtures::Tar::create(&path) };
        tar.file(&format!("n{number}"), 0o644, number.to_string().as_bytes());
        tar.file("last", 0o644, number.to_string().as_bytes());
        tar.finish();
        names.push(format!("{number}.tar"));
        ids.push(fixtures::sha256_of(&path));
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ids}});
    fs::write(directory.join("tree/config.json"), config.to_string()).unwrap();
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": ["many:layers"], "Layers": names}]);
    fs::write(directory.join("tree/manifest.json"), manifest.to_string()).unwrap();
    let archive = directory.join("many.tar");
    let made = std::process::Command::new("tar")
        .arg("-C")
        .arg(directory.join("tree"))
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    sandbox.ok(["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(
        sandbox.ok(["run", "--rm", "many:layers", "sh", "-c", "ls / | grep -c '^n[0-9]'; cat /last"]),
        "160\n159"
    );
}
