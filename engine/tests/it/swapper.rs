//! A container that swaps names for links while its files are copied: nothing of the host is read or written
//! (CVE-2018-15664, CVE-2019-10152, CVE-2021-41089), and nothing of the container runs (CVE-2019-14271).

use crate::http::Api;
use crate::sandbox::{Sandbox, names_in};
use nix::fcntl::{RenameFlags, renameat2};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SECRET: &str = "what only the host may see";
const INSIDE: &str = "what the container has there";
const DECOY: &str = "what the container has where the link leads";

/// An archive with one file.
fn archive_of(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, &b"evil"[..]).unwrap();
    tar.into_inner().unwrap()
}

/// Everything below a directory, with content, mode and owner.
fn state_of(directory: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for name in names_in(directory) {
        let path = directory.join(&name);
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        found.push(format!("{name} {:o} {}:{} {content}", metadata.mode(), metadata.uid(), metadata.gid()));
        if metadata.is_dir() {
            found.extend(state_of(&path));
        }
    }
    found
}

/// Flips `real` and `link` until told to stop, and counts.
fn swap(x: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let x = fs::File::open(x).unwrap();
    while !stop.load(Ordering::Relaxed) {
        renameat2(&x, "real", &x, "link", RenameFlags::RENAME_EXCHANGE).unwrap();
        swaps.fetch_add(1, Ordering::Relaxed);
        std::thread::yield_now();
    }
}

/// Copies in every way that a path can be led astray, `rounds` times, while names are swapped.
fn copy_while_swapped(link_to: impl Fn(&Path) -> String, rounds: usize) {
    let sandbox = Sandbox::with_busybox();
    let outside = sandbox.path("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("file"), SECRET).unwrap();
    fs::write(outside.join("sub/file"), SECRET).unwrap();
    let before = state_of(&outside);
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let inside = PathBuf::from(format!("/proc/{}/root", sandbox.pid("box")));
    for (directory, content) in
        [(inside.join("x/real"), INSIDE), (inside.join(outside.strip_prefix("/").unwrap()), DECOY)]
    {
        fs::create_dir_all(directory.join("sub")).unwrap();
        fs::write(directory.join("file"), content).unwrap();
        fs::write(directory.join("sub/file"), content).unwrap();
    }
    std::os::unix::fs::symlink(link_to(&outside), inside.join("x/link")).unwrap();

    let _server = sandbox.serve();
    let mut api = Api::new(&sandbox.path("api.sock"));
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (below, evil) = (archive_of("real/sub/evil"), archive_of("evil"));
    let at = |path: &str| format!("/containers/box/archive?path={path}&noOverwriteDirNonDir=1");
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&inside.join("x"), &stop, &swaps));
        for round in 0..rounds {
            let (status, body) = match round % 6 {
                0 => api.ask("GET", &at("/x/real/file"), b""),
                1 => api.ask("GET", &at("/x/real/"), b""),
                2 => api.ask("PUT", &at("/x/real/sub"), &evil),
                3 => api.ask("PUT", &at("/x"), &below),
                4 => api.ask("GET", &at("/x"), b""),
                _ => api.ask("HEAD", &at("/x/real"), b""),
            };
            let text = String::from_utf8_lossy(&body);
            assert!(!text.contains(SECRET), "round {round} read the host");
            for (what, found) in [
                ("inside", text.contains(INSIDE)),
                ("decoy", text.contains(DECOY)),
                ("written", matches!(round % 6, 2 | 3) && status == 200),
            ] {
                *seen.entry(what).or_default() += u64::from(found);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(state_of(&outside), before, "the host is as it was");
    let swaps = swaps.into_inner();
    assert!(swaps > rounds as u64, "only {swaps} swaps");
    for what in ["inside", "decoy", "written"] {
        assert!(seen[what] > rounds as u64 / 100, "{seen:?} with {swaps} swaps");
    }
}

#[test]
fn absolute_links_never_lead_to_the_host() {
    copy_while_swapped(|outside| outside.display().to_string(), 10_000);
}

#[test]
fn links_upwards_never_lead_to_the_host() {
    copy_while_swapped(|outside| format!("../../../../../../..{}", outside.display()), 2_000);
}

#[test]
fn a_device_that_takes_the_place_of_a_file_is_never_opened() {
    // A reader of /dev/full's twin gets zeros without end; a pipe's opening would wait for ever. The root of a
    // container may make both, and its device cgroup does not bind the host.
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let script = "mkdir /x && echo content > /x/real && mknod /x/link c 1 5 && mkfifo /x/pipe";
    sandbox.ok(["exec", "box", "sh", "-c", script]);
    let inside = PathBuf::from(format!("/proc/{}/root/x", sandbox.pid("box")));
    let _server = sandbox.serve();
    let mut api = Api::new(&sandbox.path("api.sock"));
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut kinds = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&inside, &stop, &swaps));
        for _ in 0..1000 {
            let (status, body) = api.ask("GET", "/containers/box/archive?path=/x/real", b"");
            assert_eq!(status, 200);
            let mut archive = tar::Archive::new(&body[..]);
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let kind = entry.header().entry_type();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                let want = if kind.is_file() { "content\n" } else { "" };
                assert_eq!(content, want, "{kind:?}");
                kinds.insert(format!("{kind:?}"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    let piped = sandbox.command(["cp", "box:/x/pipe", "-"]).output().unwrap();
    assert!(piped.status.success() && String::from_utf8_lossy(&piped.stdout).contains("pipe"));
}

#[test]
fn hostile_archives_stay_in_their_directory() {
    // What a container could send to `cp` on this machine, and what a user could send into a container.
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let host = sandbox.path("host");
    fs::create_dir_all(host.join("in")).unwrap();
    fs::write(host.join("kept"), SECRET).unwrap();
    let link = |tar: &mut tar::Builder<Vec<u8>>, name: &str, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    };
    // Links first, then files through them; a name with `..`; a hard link out.
    let outside = host.join("kept");
    let mut tar = tar::Builder::new(Vec::new());
    link(&mut tar, "up", "..");
    link(&mut tar, "absolute", host.to_str().unwrap());
    let through = tar.into_inner().unwrap();
    sandbox.dhow_with_input(["cp", "-", "box:/home"], &through).ok();
    // In the container these lead to places of the container: one is there, the other is not.
    sandbox.dhow_with_input(["cp", "-", "box:/home"], &archive_of("up/evil")).ok();
    sandbox.dhow_with_input(["cp", "-", "box:/home"], &archive_of("absolute/evil")).fails(1, "absolute/evil");
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/evil"]), "evil");
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.as_old_mut().name[..10].copy_from_slice(b"../../evil");
    header.set_cksum();
    let mut dots = tar::Builder::new(Vec::new());
    dots.append(&header, &b"evil"[..]).unwrap();
    let ended = sandbox.dhow_with_input(["cp", "-", "box:/home"], &dots.into_inner().unwrap());
    ended.fails(1, "outside of the directory");

    // The other direction: a directory of the container with links in it, onto one of this machine that has a link
    // of that name already.
    sandbox.ok(["exec", "box", "mkdir", "-p", "/tree/sub"]);
    sandbox.ok(["exec", "box", "sh", "-c", "echo evil > /tree/sub/kept"]);
    std::os::unix::fs::symlink(&host, host.join("in/sub")).unwrap();
    let target = host.join("in");
    sandbox.dhow(["cp", "box:/tree/.", target.to_str().unwrap()]).fails(1, "cannot overwrite non-directory");
    sandbox.ok([
        "exec",
        "box",
        "sh",
        "-c",
        "rm -r /tree; mkdir /tree; ln -s .. /tree/up; ln /etc/group /tree/hard",
    ]);
    sandbox.ok(["cp", "box:/tree", target.to_str().unwrap()]);
    assert_eq!(fs::read_link(target.join("tree/up")).unwrap(), Path::new(".."));
    assert_eq!(fs::read_to_string(&outside).unwrap(), SECRET);
    assert_eq!(names_in(&host), ["in", "kept"]);
}

#[test]
fn nothing_of_the_container_runs_or_is_loaded() {
    // A C library of the container's would be loaded for user names (CVE-2019-14271): names are looked up in its
    // files, by us. A program there that shadows tar, and a broken passwd, change nothing.
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "-u", "1000", "busybox", "sleep", "1000"]);
    let script = "for name in tar gzip unpigz docker-untar; do printf '#!/bin/sh\\ntouch /ran' > /bin/$name.new && chmod 755 /bin/$name.new && mv /bin/$name.new /bin/$name; done; mkdir -p /lib /lib64 && echo broken > /lib/libnss_files.so.2";
    sandbox.ok(["exec", "-u", "0", "box", "sh", "-c", script]);
    sandbox.ok(["cp", "-a", "/etc/hostname", "box:/tmp/x"]);
    sandbox.ok(["cp", "box:/tmp/x", sandbox.path("x").to_str().unwrap()]);
    assert!(sandbox.command(["export", "box"]).output().unwrap().status.success());
    assert!(!sandbox.ok(["exec", "box", "ls", "/"]).contains("ran"));
    assert_eq!(sandbox.ok(["exec", "box", "stat", "-c", "%u", "/tmp/x"]), "1000");
}
