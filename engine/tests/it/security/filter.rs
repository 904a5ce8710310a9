//! Attacks on the system call filter: what the kernel sees and what the filter compares must be the same.

use crate::fixtures;
use crate::sandbox::Sandbox;

/// Makes one call with raw 64-bit arguments for each line of arguments: "number value0 value1", and says the errno.
const RAW_CALLS: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv) {
    for (int i = 1; i + 2 < argc; i += 3) {
        errno = 0;
        syscall(strtol(argv[i], 0, 0), strtoul(argv[i + 1], 0, 0), strtoul(argv[i + 2], 0, 0), 0UL, 0UL, 0UL, 0UL);
        printf("%d ", errno);
    }
    return 0;
}
"#;

/// Runs calls in a container with the default policy; the errno of each.
fn errnos(calls: &[(i64, u64, u64)]) -> Vec<i32> {
    let sandbox = Sandbox::with_busybox();
    let program = fixtures::c_program("raw-calls", RAW_CALLS);
    let mount = format!("{}:/bin/raw:ro", program.display());
    let mut command: Vec<String> =
        ["run", "--rm", "--network", "none", "-v", &mount, "busybox", "/bin/raw"].map(str::to_owned).to_vec();
    for (number, first, second) in calls {
        command.extend([number.to_string(), first.to_string(), second.to_string()]);
    }
    sandbox.ok(command).split_whitespace().map(|errno| errno.parse().unwrap()).collect()
}

/// The kernel reads a socket's family as `int`: `socket(0x1_0000_0028)` is AF_VSOCK, whatever 64 bits compare to.
#[test]
fn the_high_half_of_a_sockets_family_opens_nothing() {
    use nix::libc::{EAFNOSUPPORT, EPERM, SOCK_STREAM, SYS_personality, SYS_socket};
    let stream = u64::try_from(SOCK_STREAM).unwrap();
    let mut calls = Vec::new();
    for family in [38, 40] {
        for high in [0, 1 << 32, 0x8000_0000 << 32, 0xffff_ffff << 32] {
            calls.push((SYS_socket, high | family, stream));
        }
    }
    // ADDR_NO_RANDOMIZE, which the policy refuses.
    calls.extend([(SYS_personality, 0x4_0000, 0), (SYS_personality, 1 << 32 | 0x4_0000, 0)]);
    // What the policy allows stays allowed: AF_UNIX, and a family that no kernel has.
    calls.extend([(SYS_socket, 1 << 32 | 1, stream), (SYS_socket, 1 << 32 | 60, stream)]);
    let got = errnos(&calls);
    assert_eq!(got[..10], [EPERM; 10], "{got:?}");
    assert_eq!(got[10..], [0, EAFNOSUPPORT], "{got:?}");
}

/// A C library falls back from ENOSYS to an older call, and takes EPERM as final.
#[test]
fn calls_newer_than_the_policy_answer_as_on_an_older_kernel() {
    use nix::libc::{ENOSYS, EPERM, SYS_keyctl};
    assert_eq!(
        errnos(&[(480, 0, 0), (500, 0, 0), (999, 0, 0), (SYS_keyctl, 0, 0)]),
        [ENOSYS, ENOSYS, ENOSYS, EPERM]
    );
}
