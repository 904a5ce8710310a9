//! Small texts with a form: pairs, hosts, addresses, stream names, namespace modes.

use std::net::IpAddr;

/// `key=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("invalid key=value pair: {text:?}")),
    }
}

/// `host:ip` or `host=ip`, told to the API with a colon.
pub(crate) fn parse_extra_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (host, ip) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if host.is_empty() {
        return Err(bad());
    }
    let bare = ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')).unwrap_or(ip);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{host}:{bare}"))
}

/// An IPv4 or IPv6 address.
pub(crate) fn parse_ip(text: &str) -> Result<String, String> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// `stdin`, `stdout` or `stderr`, in any case.
pub(crate) fn parse_stream(text: &str) -> Result<String, String> {
    let name = text.to_lowercase();
    match name.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(name),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// System V IPC and POSIX queues: together with `net.*` what a container has of its own.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// `net.core.somaxconn=1024`: only what has a namespace.
pub(crate) fn parse_sysctl(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value))
            if SYSCTLS.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.") =>
        {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse_extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(parse_extra_host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(parse_extra_host("a:::1").unwrap(), "a:::1");
        assert_eq!(parse_extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert!(
            parse_extra_host("a").is_err()
                && parse_extra_host(":1.2.3.4").is_err()
                && parse_extra_host("a:b").is_err()
        );
        assert_eq!(parse_pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
        assert_eq!(parse_stream("STDIN").unwrap(), "stdin");
        assert!(parse_sysctl("net.a=1").is_ok() && parse_sysctl("kernel.sem=1").is_ok());
        assert!(parse_sysctl("kernel.panic=1").is_err() && parse_sysctl("net.a").is_err());
        assert!(parse_stream("x").is_err() && parse_ip("1.2.3").is_err());
    }
}
