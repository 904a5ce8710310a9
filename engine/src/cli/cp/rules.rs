//! Docker's rules for what a path means to `cp`, as its client has them (`cli/command/container/cp.go` and
//! `go-archive/copy.go`): pure, but for a look at this machine's files.
//!
//! | source | destination | result |
//! |---|---|---|
//! | anything | a directory | the source by its own name in it; with `SRC/.` its content |
//! | a file | a file, or missing | a file of that name |
//! | a file | missing, with `/` at the end | error: no such directory |
//! | a directory | missing | a directory of that name |
//! | a directory | a file | error: cannot copy directory |

use crate::cli::exit::{Failure, Outcome};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// More links than these in a row are a loop, as Docker's client counts.
const LINKS_MAX: usize = 10;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) is_directory: bool,
    /// Another name than the path's last one: that which the user wrote, before links were followed.
    pub(super) renamed: Option<String>,
}

/// Where it is copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_directory: bool,
}

/// `CONTAINER:PATH`; `None` for a path of this machine.
pub(super) fn split(argument: &str) -> Option<(&str, &str)> {
    if argument.starts_with('/') {
        return None;
    }
    // `./file:name` is a path too.
    argument.split_once(':').filter(|(who, _)| !who.starts_with('.'))
}

/// Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Go's `filepath.Base`.
fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None => "/",
        Some(base) => base,
    }
}

/// Go's `filepath.Dir`.
fn dir(path: &str) -> String {
    clean(path.rsplit_once('/').map_or("", |(dir, _)| if dir.is_empty() { "/" } else { dir }))
}

fn has_slash(path: &str) -> bool {
    path.ends_with('/')
}

fn is_content(path: &str) -> bool {
    base(path) == "."
}

/// Cleaning takes a `/` or `/.` at the end away, which means something: puts it back.
fn keep_end(cleaned: String, original: &str) -> String {
    let mut path = cleaned;
    if !is_content(&path) && is_content(original) {
        if !has_slash(&path) {
            path.push('/');
        }
        path.push('.');
    }
    if !has_slash(&path) && has_slash(original) {
        path.push('/');
    }
    path
}

/// A path's directory and last name; `.` for one that ends so.
pub(super) fn split_entry(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if is_content(path) {
        cleaned.push_str("/.");
    }
    (dir(&cleaned), base(&cleaned).to_owned())
}

/// The target of a link at `path`, from where it is meant.
pub(super) fn join_link(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    clean(&format!("{}/{target}", split_entry(path).0))
}

/// After links were followed: the resolved path with the end that was written, and the name that was written if
/// it is another now.
pub(super) fn rebase(path: &str, resolved: &str) -> (String, Option<String>) {
    let mut resolved = resolved.to_owned();
    if is_content(path) && !is_content(&resolved) {
        resolved.push_str("/.");
    }
    if has_slash(path) && !has_slash(&resolved) {
        resolved.push('/');
    }
    let renamed = (base(path) != base(&resolved)).then(|| base(path).to_owned());
    (resolved, renamed)
}

/// An absolute path of this machine, its end kept.
pub(super) fn absolute(path: &str) -> Outcome<String> {
    if path.starts_with('/') {
        return Ok(keep_end(clean(path), path));
    }
    let here = std::env::current_dir().map_err(|e| Failure::new(format!("getwd: {e}")))?;
    let here = here.to_str().ok_or_else(|| Failure::new("the working directory's name is not UTF-8"))?;
    Ok(keep_end(clean(&format!("{here}/{path}")), path))
}

/// A failed look at a file of this machine, in Go's words.
fn look_failure(call: &str, path: &str, error: &std::io::Error) -> Failure {
    let reason = error.raw_os_error().map(|n| dhow_sys::error::reason(dhow_sys::Errno::from_raw(n)));
    Failure::new(format!("{call} {path}: {}", reason.unwrap_or_else(|| error.to_string())))
}

fn resolve(path: &str) -> Outcome<String> {
    let resolved =
        fs::canonicalize(path).map_err(|e| look_failure("lstat", path.trim_end_matches('/'), &e))?;
    resolved
        .into_os_string()
        .into_string()
        .map_err(|name| Failure::new(format!("{} is not UTF-8", name.display())))
}

impl Source {
    /// A file of this machine.
    pub(super) fn of_local(path: &str, follow: bool) -> Outcome<Self> {
        let path = absolute(path)?;
        let (resolved, renamed) = if follow {
            rebase(&path, &resolve(&path)?)
        } else {
            // Links before the last slash are followed, the last name is not.
            let (directory, last) = path.rsplit_once('/').unwrap_or(("", &path));
            let directory = resolve(if directory.is_empty() { "/" } else { directory })?;
            let resolved = format!("{}/{last}", directory.trim_end_matches('/'));
            let renamed =
                (has_slash(&path) && base(&path) != base(&resolved)).then(|| base(&path).to_owned());
            (resolved, renamed)
        };
        let found = fs::symlink_metadata(&resolved).map_err(|e| look_failure("lstat", &resolved, &e))?;
        Ok(Self { path: resolved, is_directory: found.is_dir(), renamed })
    }

    /// What it is called where nothing else is said.
    fn name(&self) -> String {
        self.renamed.clone().unwrap_or_else(|| split_entry(&self.path).1)
    }
}

impl Target {
    /// A place on this machine, links followed, also one at the end that leads nowhere yet.
    pub(super) fn of_local(path: &str) -> Outcome<Self> {
        let original = path;
        let mut path = path.to_owned();
        for _ in 0..=LINKS_MAX {
            let found = match fs::symlink_metadata(&path) {
                Ok(found) => found,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let (parent, _) = split_entry(&path);
                    let parent_found =
                        fs::metadata(&parent).map_err(|e| look_failure("stat", &parent, &e))?;
                    return if parent_found.is_dir() {
                        Ok(Self { path, exists: false, is_directory: false })
                    } else {
                        Err(Failure::new("not a directory"))
                    };
                }
                Err(error) => return Err(look_failure("lstat", &path, &error)),
            };
            if !found.is_symlink() {
                return Ok(Self { path, exists: true, is_directory: found.is_dir() });
            }
            let link = fs::read_link(&path).map_err(|e| look_failure("readlink", &path, &e))?;
            let link =
                link.to_str().ok_or_else(|| Failure::new(format!("{} is not UTF-8", link.display())))?;
            path = join_link(&path, link);
        }
        Err(Failure::new(format!("too many symlinks in {original}")))
    }
}

/// The directory to extract into, and what the source is called there.
pub(super) fn place(source: &Source, target: &Target) -> Outcome<(String, String)> {
    if target.exists && target.is_directory {
        return Ok((target.path.clone(), source.name()));
    }
    if target.exists && source.is_directory {
        return Err(Failure::new("cannot copy directory"));
    }
    let asserts_directory = has_slash(&target.path) || is_content(&target.path);
    if !target.exists && !source.is_directory && asserts_directory {
        return Err(Failure::new("no such directory"));
    }
    Ok(split_entry(&target.path))
}

/// Refuses a place on this machine that cannot be written to, before anything is asked of the engine.
pub(super) fn check_output(path: &str) -> Outcome<()> {
    let directory = dir(&clean(path));
    if !Path::new(&directory).exists() {
        return Err(Failure::new(format!("invalid output path: directory {directory:?} does not exist")));
    }
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    let kind = found.file_type();
    if kind.is_block_device() || kind.is_char_device() {
        return Err(Failure::new(format!(
            "invalid output path: {path:?} must be a directory or a regular file: got a device"
        )));
    }
    Ok(())
}

/// Go's `strings.Replace(member, old, new, 1)`, with the root meant by an empty name.
pub(super) fn replace_first(member: &[u8], old: &str, new: &str) -> Vec<u8> {
    if old == new {
        return member.to_vec();
    }
    let old = if old == "/" { b"" } else { old.as_bytes() };
    let at =
        if old.is_empty() { Some(0) } else { member.windows(old.len()).position(|window| window == old) };
    match at {
        Some(at) => [&member[..at], new.as_bytes(), &member[at + old.len()..]].concat(),
        None => member.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_apart() {
        assert_eq!(split("box:/a"), Some(("box", "/a")));
        assert_eq!(split("box:a:b"), Some(("box", "a:b")));
        assert_eq!(split("box:"), Some(("box", "")));
        for local in ["/a:b", "./a:b", "../a:b", "a", "-"] {
            assert_eq!(split(local), None, "{local}");
        }
    }

    #[test]
    fn paths_as_go_has_them() {
        for (path, want) in
            [("/a/../b//c/.", "/b/c"), ("../a/..", ".."), ("", "."), ("/..", "/"), ("a/b/", "a/b")]
        {
            assert_eq!(clean(path), want, "{path:?}");
        }
        for (path, directory, last) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/", "/", "/"),
            ("b", ".", "b"),
            ("/.", "/", "."),
            (".", ".", "."),
        ] {
            assert_eq!(split_entry(path), (directory.to_owned(), last.to_owned()), "{path:?}");
        }
        assert_eq!(keep_end("/a".into(), "/x/../a/."), "/a/.");
        assert_eq!(keep_end("/a".into(), "/a/"), "/a/");
        assert_eq!(join_link("/a/link", "../b"), "/b");
        assert_eq!(join_link("/a/link", "/c"), "/c");
        assert_eq!(rebase("/a/link/", "/b/dir"), ("/b/dir/".to_owned(), Some("link".to_owned())));
        assert_eq!(rebase("/a/link/.", "/b/dir"), ("/b/dir/.".to_owned(), None));
    }

    #[test]
    fn where_things_go() {
        let source = |path: &str, is_directory| Source { path: path.to_owned(), is_directory, renamed: None };
        let target =
            |path: &str, exists, is_directory| Target { path: path.to_owned(), exists, is_directory };
        let to = |s: &Source, t: &Target| place(s, t).map_err(|f| f.message);
        let placed = |directory: &str, name: &str| Ok((directory.to_owned(), name.to_owned()));
        let (file, tree, content) = (source("/s/f", false), source("/s/d", true), source("/s/d/.", true));
        assert_eq!(to(&file, &target("/t", true, true)), placed("/t", "f"));
        assert_eq!(to(&file, &target("/t", true, false)), placed("/", "t"));
        assert_eq!(to(&file, &target("/t/new", false, false)), placed("/t", "new"));
        assert_eq!(to(&file, &target("/t/new/", false, false)), Err("no such directory".to_owned()));
        assert_eq!(to(&tree, &target("/t", true, true)), placed("/t", "d"));
        assert_eq!(to(&tree, &target("/t", true, false)), Err("cannot copy directory".to_owned()));
        assert_eq!(to(&tree, &target("/t/new", false, false)), placed("/t", "new"));
        assert_eq!(to(&content, &target("/t", true, true)), placed("/t", "."));
        assert_eq!(to(&content, &target("/t/new", false, false)), placed("/t", "new"));
    }

    #[test]
    fn members_are_renamed_once() {
        let renamed =
            |member: &str, old, new| String::from_utf8(replace_first(member.as_bytes(), old, new)).unwrap();
        assert_eq!(renamed("d/d/x", "d", "new"), "new/d/x");
        assert_eq!(renamed("./x", ".", "new"), "new/x");
        assert_eq!(renamed("/bin", "/", "new"), "new/bin");
        assert_eq!(renamed("/bin", "/", "/"), "/bin");
        assert_eq!(renamed("x", "d", "new"), "x");
    }
}
