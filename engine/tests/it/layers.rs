//! Indexed layers beside unpacked ones: chosen by the setting, the same to every verb, mounted once for all, and gone
//! with the last image.

use crate::fixtures;
use crate::sandbox::{Ended, Sandbox, eventually, finish, names_in};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `dhow` that installs layers in that form.
fn dhow(sandbox: &Sandbox, form: &str, arguments: &[&str]) -> Ended {
    let file = sandbox.path("dhow.json");
    fs::write(&file, format!("{{\"layer-store\": {form:?}}}")).unwrap();
    finish(sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat()), b"")
}

/// The directories of the installed layers.
fn layers(sandbox: &Sandbox) -> Vec<PathBuf> {
    let root = sandbox.root().join("layers");
    names_in(&root).into_iter().filter(|name| name.len() == 64).map(|name| root.join(name)).collect()
}

fn import(sandbox: &Sandbox, form: &str, tar: &Path, name: &str) {
    dhow(sandbox, form, &["import", tar.to_str().unwrap(), name]).ok();
}

#[test]
fn the_setting_decides_and_the_kernel_when_it_does_not() {
    for (form, file) in [("indexed", "index"), ("unpacked", "diff"), ("auto", "index")] {
        let sandbox = Sandbox::new();
        import(&sandbox, form, fixtures::busybox_tar(), "busybox");
        let [layer] = &layers(&sandbox)[..] else { panic!("not one layer") };
        // These tests run where indexed layers can be mounted, or on a kernel that is known to be too old.
        let old = !kernel_is_at_least(6, 12);
        let want = if old && form == "auto" { "diff" } else { file };
        assert!(layer.join(want).exists(), "{form}: {:?}", names_in(layer));
        if !(old && form == "indexed") {
            assert_eq!(sandbox.ok(["run", "--rm", "busybox", "echo", "works"]), "works", "{form}");
        }
        let where_it_is = sandbox.inspect("busybox")["GraphDriver"]["Data"]["UpperDir"].take();
        assert!(where_it_is.as_str().unwrap().starts_with(layer.to_str().unwrap()), "{where_it_is}");
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.trim().parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

#[test]
fn every_verb_works_on_both_forms_and_on_chains_of_both() {
    let sandbox = Sandbox::new();
    import(&sandbox, "unpacked", fixtures::busybox_tar(), "base");
    // On an unpacked base: an indexed layer, an unpacked one, and the same the other way round.
    for (number, (first, second)) in
        [("indexed", "unpacked"), ("unpacked", "indexed")].into_iter().enumerate()
    {
        let (one, two) = (format!("one{number}"), format!("two{number}"));
        let (first_box, box_name) = (format!("box-of-{one}"), format!("box-of-{two}"));
        let change = format!(
            "echo {number} > /number; echo new > /etc/new; rm /etc/group; chmod 700 /home; mkdir -p /deep/er; ln /etc/new /deep/er/link"
        );
        dhow(&sandbox, first, &["run", "--name", &first_box, "base", "sh", "-c", &change]).ok();
        dhow(&sandbox, first, &["commit", &first_box, &one]).ok();
        let on_top = "rm -r /deep; mkdir /deep; echo top > /deep/top; echo more >> /etc/new";
        dhow(&sandbox, second, &["run", "--name", &box_name, &one, "sh", "-c", on_top]).ok();
        dhow(&sandbox, second, &["commit", &box_name, &two]).ok();
        let look = "cat /etc/new /deep/top; ls /deep; ls /etc/group; stat -c '%a %d' /home / /bin /etc/new | sort -u";
        let seen = sandbox.dhow(["run", "--rm", &two, "sh", "-c", look]).stdout;
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..4], ["new", "more", "top", "top"], "{seen}");
        let devices: std::collections::BTreeSet<&str> =
            lines[4..].iter().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(devices.len(), 1, "one device for files and directories: {seen}");
        let changed = sandbox.ok(["diff", &box_name]);
        let changed: Vec<&str> = changed.lines().collect();
        assert_eq!(changed, ["C /deep", "D /deep/er", "A /deep/top", "C /etc", "C /etc/new"]);
        // Files of a container that does not run, its export, a saved image.
        let file = sandbox.path("copied");
        sandbox.ok(["cp", &format!("{box_name}:/bin/busybox"), file.to_str().unwrap()]);
        assert!(fs::metadata(&file).unwrap().len() > 100_000);
        sandbox.ok(["export", "-o", sandbox.path("export.tar").to_str().unwrap(), &box_name]);
        let listed = Command::new("tar").arg("-tf").arg(sandbox.path("export.tar")).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("deep/top") && listed.contains("bin/busybox"), "{listed}");
        sandbox.ok(["save", "-o", sandbox.path("save.tar").to_str().unwrap(), &two]);
        let other = Sandbox::new();
        dhow(&other, first, &["load", "-i", sandbox.path("save.tar").to_str().unwrap()]).ok();
        assert_eq!(other.inspect(&two)["RootFS"], sandbox.inspect(&two)["RootFS"]);
        assert_eq!(other.ok(["run", "--rm", &two, "cat", "/etc/new"]), "new\nmore");
        // What an image has in a volume's place is copied out of either form.
        assert_eq!(sandbox.ok(["run", "--rm", "-v", "/deep", &two, "cat", "/deep/top"]), "top");
    }
    let forms: Vec<bool> = layers(&sandbox).iter().map(|layer| layer.join("index").exists()).collect();
    assert!(forms.contains(&true) && forms.contains(&false), "{forms:?}");
}

#[test]
fn containers_of_one_image_hold_its_files_once() {
    const COUNT: usize = 50;
    let sandbox = Sandbox::new();
    let path = sandbox.path("big.tar");
    let mut tar = fixtures::Tar::with_busybox(&path);
    let big: Vec<u8> =
        (0..(8u32 << 20) / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    tar.file("big", 0o644, &big);
    tar.finish();
    import(&sandbox, "indexed", &path, "big");
    for number in 0..COUNT {
        sandbox.ok([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            &format!("c{number}"),
            "big",
            "sleep",
            "1000",
        ]);
    }
    let resident = |file: &Path| -> u64 {
        let out = Command::new("fincore").args(["-b", "-n", "-o", "RES"]).arg(file).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
    };
    let of = |number: usize| PathBuf::from(format!("/proc/{}/root/big", sandbox.pid(&format!("c{number}"))));
    let all: Vec<PathBuf> = (0..COUNT).map(of).collect();
    assert!(resident(&all[COUNT - 1]) < big.len() as u64 / 2, "nobody has read it");
    // The kernel may take pages back at any moment: then one container, and nobody else, reads them again.
    eventually("what one has read is there for all", || {
        sandbox.ok(["run", "--rm", "--network", "none", "big", "sh", "-c", "cat /big > /dev/null"]);
        all.iter().all(|file| resident(file) >= big.len() as u64)
    });
    // The tar's own pages, from which these were read, go with the container that has read them.
    let [layer] = &layers(&sandbox)[..] else { panic!("not one layer") };
    eventually("the tar's pages are dropped", || resident(&layer.join("tar")) < big.len() as u64 / 2);
    // And with what was executed in one: it is idle, and nothing else wakes its monitor.
    eventually("they are there again", || {
        fs::read(layer.join("tar")).unwrap();
        resident(&layer.join("tar")) > big.len() as u64 / 2
    });
    sandbox.ok(["exec", "c0", "true"]);
    eventually("an exec drops them, too", || resident(&layer.join("tar")) < big.len() as u64 / 2);
    // As many as the kernel has not taken back meanwhile: a file that was given up would have none.
    assert!(resident(&all[1]) > 0, "the files' pages stay");
    // And a run after all these have ended finds them, too.
    for number in 0..COUNT {
        sandbox.ok(["rm", "-f", &format!("c{number}")]);
    }
    sandbox.ok(["run", "-d", "--name", "later", "big", "sleep", "1000"]);
    let later = PathBuf::from(format!("/proc/{}/root/big", sandbox.pid("later")));
    assert!(resident(&later) > 0, "they are the same files");
}

/// The most memory that a command ever had, in bytes (`VmHWM`), as far as it was seen.
fn peak_of(mut command: Command) -> u64 {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // Gone when the process is about to end.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = line.map_or(peak, |kib| kib.trim().parse::<u64>().unwrap() * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn bombs_cost_no_memory() {
    const ZEROS: u64 = 512 << 20;
    const MOST: u64 = 64 << 20;
    let sandbox = Sandbox::new();
    let directory = sandbox.path("bombs");
    fs::create_dir(&directory).unwrap();
    // A file of zeros, and a directory with a million bytes of names: small as they come, large as they are.
    let script = "cd \"$1\"; truncate -s $2 zeros; echo hello > small; \
        mkdir names; cd names; seq -f 'a-long-name-for-a-small-file-%0100.0f' 5000 | xargs touch; cd ..; \
        tar -cf - zeros | gzip -1 > zeros.gz; tar -cf - zeros | zstd -q > zeros.zst; rm zeros; \
        tar -cf - names | gzip > names.gz; tar -cf small.tar small";
    let made = Command::new("bash")
        .args(["-ec", script, "make"])
        .arg(&directory)
        .arg(ZEROS.to_string())
        .status()
        .unwrap();
    assert!(made.success());
    let settings = sandbox.path("dhow.json");
    for form in ["indexed", "unpacked"] {
        fs::write(&settings, format!("{{\"layer-store\": {form:?}}}")).unwrap();
        let import = |name: &str| {
            let tar = directory.join(name);
            assert!(fs::metadata(&tar).unwrap().len() < 4 << 20, "{name} is small");
            let arguments =
                ["--config-file", settings.to_str().unwrap(), "import", tar.to_str().unwrap(), "image"];
            let peak = peak_of(sandbox.command(arguments));
            sandbox.ok(["rmi", "image"]);
            peak
        };
        let usual = import("small.tar");
        assert!(usual > 0, "it was looked at in time");
        for bomb in ["zeros.gz", "zeros.zst", "names.gz"] {
            let peak = import(bomb);
            assert!(peak < usual + MOST, "{form}, {bomb}: {peak} bytes, {usual} for a small one");
        }
    }
    assert_eq!(layers(&sandbox), Vec::<PathBuf>::new());
}

/// Mounts below the sandbox's state directory, in the host's table.
fn pins(sandbox: &Sandbox) -> usize {
    let state = sandbox.state();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(state.to_str().unwrap())).count()
}

#[test]
fn mounts_are_made_when_needed_and_go_with_their_layers() {
    let sandbox = Sandbox::new();
    import(&sandbox, "indexed", fixtures::busybox_tar(), "one");
    let path = sandbox.path("two.tar");
    let mut tar = fixtures::Tar::with_busybox(&path);
    tar.file("two", 0o644, b"two");
    tar.finish();
    import(&sandbox, "indexed", &path, "two");
    assert_eq!(pins(&sandbox), 0, "nothing is mounted for an image that nobody uses");
    sandbox.ok(["run", "--rm", "one", "true"]);
    sandbox.ok(["run", "--rm", "two", "true"]);
    assert_eq!(pins(&sandbox), 2, "the pinned namespace, and no layer in the host's table");
    sandbox.ok(["rmi", "one"]);
    assert_eq!(sandbox.ok(["run", "--rm", "two", "cat", "/two"]), "two");

    // As after a reboot, and as after a crash in the middle of it: the next start makes it anew.
    let state = sandbox.state().join("layers");
    for lost in [&[state.join("ns"), state.clone()][..], &[state.join("ns")]] {
        for mount in lost {
            assert!(Command::new("umount").arg("-l").arg(mount).status().unwrap().success());
        }
        assert_eq!(sandbox.ok(["run", "--rm", "two", "cat", "/two"]), "two");
        assert_eq!(pins(&sandbox), 2);
    }

    // Many at once find one mount.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(sandbox.ok(["run", "--rm", "two", "cat", "/two"]), "two"));
        }
    });
    // A container that runs keeps its files, whatever happens to the pin.
    sandbox.ok(["run", "-d", "--name", "box", "two", "sleep", "1000"]);
    assert!(Command::new("umount").arg("-l").arg(state.join("ns")).status().unwrap().success());
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/two"]), "two");
    sandbox.ok(["rm", "-f", "box"]);
    sandbox.ok(["run", "--rm", "two", "true"]);
    sandbox.ok(["rmi", "two"]);
    assert_eq!(pins(&sandbox), 0);
    assert_eq!(layers(&sandbox), Vec::<PathBuf>::new());
}
