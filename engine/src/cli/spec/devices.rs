//! Host devices in a container, and rules about device numbers.

use bollard::models::DeviceMapping;

/// `/dev/host[:/dev/container][:rwm]`.
pub(crate) fn parse_device(text: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] => (*host, *container, *mode),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if host.contains('=') && !host.starts_with('/') {
        return Err(format!("{text}: devices by CDI name are not supported by dhow yet"));
    }
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(format!("{path} is not an absolute path"));
        }
    }
    if !is_mode(permissions) {
        return Err(format!("bad mode specified: {permissions}"));
    }
    Ok(DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    })
}

/// Some of `rwm`, each once.
fn is_mode(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && once(c))
}

/// `c 1:3 rwm`.
pub(crate) fn parse_rule(text: &str) -> Result<String, String> {
    let invalid = || format!("invalid device cgroup format '{text}'");
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, mode] = parts.as_slice() else { return Err(invalid()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    if !["a", "b", "c"].contains(kind) || !number(major) || !number(minor) || !is_mode(mode) {
        return Err(invalid());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let shown = |text: &str| {
            parse_device(text).map(|d| {
                [d.path_on_host, d.path_in_container, d.cgroup_permissions]
                    .map(Option::unwrap_or_default)
                    .join(" ")
            })
        };
        assert_eq!(shown("/dev/a").unwrap(), "/dev/a /dev/a rwm");
        assert_eq!(shown("/dev/a:r").unwrap(), "/dev/a /dev/a r");
        assert_eq!(shown("/dev/a:/dev/b").unwrap(), "/dev/a /dev/b rwm");
        assert_eq!(shown("/dev/a:/dev/b:rw").unwrap(), "/dev/a /dev/b rw");
        for bad in ["a", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:w", "vendor.com/gpu=all", ""] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules() {
        assert!(parse_rule("c 1:3 rwm").is_ok() && parse_rule("a *:* r").is_ok());
        for bad in ["c 1:3", "x 1:3 r", "c 1 r", "c 1:3 rr", "c :3 r"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
