//! Filters are run here by an interpreter of classic BPF, and compared with a plain reading of the policy.

use super::program::{self, Action, Compare, Condition, Instruction, Policy};
use super::table::{self, Arch, X32_BIT};
use super::*;
use dhow_model::security::Security;

const KERNEL: KernelVersion = KernelVersion { major: 6, minor: 1 };
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

fn decode(bytes: &[u8]) -> Vec<Instruction> {
    bytes
        .chunks_exact(8)
        .map(|c| Instruction {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect()
}

// The machine's words are halves of the arguments.
#[allow(clippy::cast_possible_truncation)]
fn interpret(program: &[Instruction], call: &Call) -> u32 {
    let word = |offset: u32| match offset {
        0 => call.number,
        4 => call.arch,
        _ => {
            let argument = call.args[(offset as usize - 16) / 8];
            (if offset.is_multiple_of(8) { argument } else { argument >> 32 }) as u32
        }
    };
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let i = program[pc];
        pc += 1;
        let jump = |condition: bool| usize::from(if condition { i.jt } else { i.jf });
        match i.code {
            program::LOAD => a = word(i.k),
            program::AND => a &= i.k,
            program::JUMP => pc += i.k as usize,
            program::JUMP_EQUAL => pc += jump(a == i.k),
            program::JUMP_GREATER => pc += jump(a > i.k),
            program::JUMP_GREATER_EQUAL => pc += jump(a >= i.k),
            program::RETURN => return i.k,
            other => panic!("opcode {other:#x}"),
        }
    }
}

fn default_program(mask: u64) -> Vec<Instruction> {
    decode(&compile(&SeccompProfile::Default, mask, KERNEL).unwrap().unwrap())
}

fn number(name: &str, arch: Arch) -> u32 {
    table::lookup(name).unwrap().on(arch).unwrap()
}

fn native(program: &[Instruction], name: &str, args: [u64; 6]) -> u32 {
    interpret(program, &Call { arch: X86_64, number: number(name, Arch::X86_64), args })
}

#[test]
fn the_default_policy() {
    let mask = Security::default().capability_mask();
    let program = default_program(mask);
    println!("{} instructions", program.len());
    for name in ["read", "execve", "openat", "futex", "socketpair", "ptrace", "cachestat", "chroot"] {
        assert_eq!(native(&program, name, [0; 6]), ALLOW, "{name}");
    }
    for name in ["mount", "keyctl", "bpf", "kexec_load", "reboot", "init_module", "unshare", "userfaultfd"] {
        assert_eq!(native(&program, name, [0; 6]), EPERM, "{name}");
    }
    let first = |name: &str, value: u64| native(&program, name, [value, 0, 0, 0, 0, 0]);
    for family in [1, 2, 10, 16, 17, 37, 39, 41, 1 << 20] {
        assert_eq!(first("socket", family), ALLOW, "{family}");
    }
    assert_eq!((first("socket", 38), first("socket", 40)), (EPERM, EPERM), "AF_ALG, AF_VSOCK");
    assert_eq!(first("clone", 0x11), ALLOW, "a fork");
    for namespace in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(first("clone", namespace | 0x11), EPERM, "{namespace:#x}");
    }
    assert_eq!(first("clone3", 0), ENOSYS);
    assert_eq!((first("personality", 0x2_0008), first("personality", 0xffff_ffff)), (ALLOW, ALLOW));
    assert_eq!(first("personality", 0x4_0000), EPERM, "no address randomisation");
    assert_eq!(
        interpret(&program, &Call { arch: 0x1234, number: 0, args: [0; 6] }),
        Action::KILL_PROCESS.value()
    );
    for beyond in [470, 600, 0x3fff_ffff, X32_BIT | 0x0fff_ffff, u32::MAX] {
        assert_eq!(
            interpret(&program, &Call { arch: X86_64, number: beyond, args: [0; 6] }),
            ENOSYS,
            "{beyond}: the policy does not know it"
        );
    }
    assert_eq!(interpret(&program, &Call { arch: X86_64, number: 400, args: [0; 6] }), EPERM, "a gap");
}

/// The kernel reads these arguments as `int`: bits above do not open what is closed, nor close what is open.
#[test]
fn the_high_half_of_an_int_argument_does_not_count() {
    let program = default_program(Security::default().capability_mask());
    for high in [1 << 32, 1 << 63, 0xffff_ffff_0000_0000] {
        let first = |name: &str, low: u64| native(&program, name, [high | low, 0, 0, 0, 0, 0]);
        assert_eq!((first("socket", 38), first("socket", 40)), (EPERM, EPERM), "{high:#x}: AF_ALG, AF_VSOCK");
        assert_eq!((first("socket", 1), first("socket", 39), first("socket", 41)), (ALLOW, ALLOW, ALLOW));
        assert_eq!((first("personality", 0x4_0000), first("personality", 8)), (EPERM, ALLOW));
        assert_eq!((first("clone", 0x1000_0011), first("clone", 0x11)), (EPERM, ALLOW), "CLONE_NEWUSER");
    }
    let custom = |rule: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"action":"SCMP_ACT_ALLOW",{rule}}}]}}"#
        );
        decode(&compile(&SeccompProfile::Custom(json), 0, KERNEL).unwrap().unwrap())
    };
    let minus_one =
        custom(r#""names":["kill"],"args":[{"index":0,"op":"SCMP_CMP_EQ","value":18446744073709551615}]"#);
    for pid in [u64::MAX, 0xffff_ffff, 0x7_ffff_ffff] {
        assert_eq!(native(&minus_one, "kill", [pid, 0, 0, 0, 0, 0]), ALLOW, "{pid:#x} is -1");
    }
    assert_eq!(native(&minus_one, "kill", [1, 0, 0, 0, 0, 0]), EPERM);
    let wide = custom(r#""names":["mount"],"args":[{"index":3,"op":"SCMP_CMP_EQ","value":4096}]"#);
    assert_eq!(native(&wide, "mount", [0, 0, 0, 4096, 0, 0]), ALLOW);
    assert_eq!(native(&wide, "mount", [0, 0, 0, 1 << 32 | 4096, 0, 0]), EPERM, "unsigned long");
}

#[test]
fn other_calling_conventions_have_the_same_policy() {
    let program = default_program(Security::default().capability_mask());
    let i386 =
        |name: &str, args| interpret(&program, &Call { arch: I386, number: number(name, Arch::X86), args });
    assert_eq!(i386("read", [0; 6]), ALLOW);
    assert_eq!(i386("mount", [0; 6]), EPERM);
    assert_eq!(i386("socket", [38, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(i386("socketcall", [1, 0, 0, 0, 0, 0]), ENOSYS, "socket(2) in disguise");
    assert_eq!(i386("socketcall", [3, 0, 0, 0, 0, 0]), ALLOW, "connect(2)");
    let x32 = |name: &str, args| {
        let number = number(name, Arch::X32) | X32_BIT;
        interpret(&program, &Call { arch: X86_64, number, args })
    };
    assert_eq!(x32("read", [0; 6]), ALLOW);
    assert_eq!(x32("ptrace", [0; 6]), ALLOW, "its number differs");
    assert_eq!(x32("mount", [0; 6]), EPERM);
    assert_eq!(x32("socket", [40, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn capabilities_open_calls() {
    let with = |name: &str| {
        default_program(
            Security::default().capability_mask() | dhow_model::security::capability_bit(name).unwrap(),
        )
    };
    let admin = with("CAP_SYS_ADMIN");
    for name in ["mount", "unshare", "setns", "clone3", "bpf"] {
        assert_eq!(native(&admin, name, [0; 6]), ALLOW, "{name}");
    }
    assert_eq!(native(&admin, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(native(&admin, "reboot", [0; 6]), EPERM);
    assert_eq!(native(&with("CAP_SYS_BOOT"), "reboot", [0; 6]), ALLOW);
    let none = default_program(0);
    assert_eq!(native(&none, "chroot", [0; 6]), EPERM);
    let old = compile(&SeccompProfile::Default, 0, KernelVersion { major: 4, minor: 4 }).unwrap().unwrap();
    assert_eq!(native(&decode(&old), "ptrace", [0; 6]), EPERM, "minKernel 4.8");
}

#[test]
fn custom_profiles() {
    let custom = |json: &str| compile(&SeccompProfile::Custom(json.into()), 0, KERNEL).map(Option::unwrap);
    let program = decode(
        &custom(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],
               "syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"},
                           {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":null},
                           {"names":["write"],"action":"SCMP_ACT_ALLOW","args":[
                              {"index":0,"value":2,"op":"SCMP_CMP_LE"},{"index":2,"value":4294967296,"op":"SCMP_CMP_LT"}]}]}"#,
        )
        .unwrap(),
    );
    assert_eq!(native(&program, "read", [0; 6]), ALLOW);
    assert_eq!(native(&program, "open", [0; 6]), ENOSYS);
    assert_eq!(native(&program, "kill", [0; 6]), Action::KILL_PROCESS.value());
    assert_eq!(native(&program, "write", [1, 0, 10, 0, 0, 0]), ALLOW);
    assert_eq!(native(&program, "write", [3, 0, 10, 0, 0, 0]), ENOSYS);
    assert_eq!(native(&program, "write", [1, 0, 1 << 32, 0, 0, 0]), ENOSYS, "both conditions");
    assert_eq!(
        interpret(&program, &Call { arch: I386, number: 3, args: [0; 6] }),
        Action::KILL_PROCESS.value()
    );
    for (bad, why) in [
        ("{", "EOF"),
        (r#"{"defaultAction":"SCMP_ACT_WHATEVER"}"#, "unknown seccomp action"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["reed"],"action":"SCMP_ACT_ERRNO"}]}"#,
            "reed",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "NOTIFY",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument 6",
        ),
    ] {
        let error = custom(bad).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("seccomp profile"), "{error}");
    }
    assert_eq!(compile(&SeccompProfile::Unconfined, 0, KERNEL).unwrap(), None);
}

#[test]
fn the_table_agrees_with_libc() {
    use nix::libc;
    for (name, number) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("bpf", libc::SYS_bpf),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("mseal", libc::SYS_mseal),
        ("fchmodat2", libc::SYS_fchmodat2),
        ("rseq", libc::SYS_rseq),
        ("newfstatat", libc::SYS_newfstatat),
    ] {
        assert_eq!(i64::from(table::lookup(name).unwrap().on(Arch::NATIVE).unwrap()), number, "{name}");
    }
    let names: Vec<_> = table::lines().map(|(name, _)| name).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), unique.len());
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let (a, v) = (args[condition.index as usize] & condition.mask, condition.value);
    match condition.compare {
        Compare::Equal => a == v,
        Compare::NotEqual => a != v,
        Compare::Less => a < v,
        Compare::LessOrEqual => a <= v,
        Compare::Greater => a > v,
        Compare::GreaterOrEqual => a >= v,
    }
}

proptest::proptest! {
    #[test]
    fn the_program_does_what_the_policy_says(
        rules in proptest::collection::vec((0usize..40, 0u32..4, 0u8..6, 0usize..5, 0usize..5, proptest::bool::ANY), 0..30),
        calls in proptest::collection::vec((0u32..60, 0usize..5, 0usize..5), 40),
    ) {
        const VALUES: [u64; 5] = [0, 7, 0xffff_ffff, 0x1_0000_0007, u64::MAX];
        let table: Vec<_> = table::lines().filter(|(_, n)| n.on(Arch::X86_64).is_some_and(|n| n < 50)).collect();
        let rules: Vec<_> = rules.iter().map(|(call, index, op, value, mask, plain)| {
            let compare = [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual, Compare::Greater, Compare::GreaterOrEqual][usize::from(*op)];
            let mask = if compare == Compare::Equal { VALUES[*mask] } else { u64::MAX };
            let condition = Condition { index: *index, compare, mask, value: VALUES[*value] };
            let conditions = if *plain { vec![] } else { vec![condition] };
            program::Rule { numbers: table[*call % table.len()].1, conditions, action: Action::errno(u32::try_from(1 + *call % 3).unwrap()) }
        }).collect();
        let policy = Policy { default: Action::ALLOW, rules, arches: vec![Arch::X86_64], known: Vec::new() };
        let program = program::assemble(&policy).unwrap();
        for (number, a, b) in calls {
            let args = [VALUES[a], VALUES[b], VALUES[a], VALUES[b], 0, 0];
            let mine: Vec<_> = policy.rules.iter().filter(|r| r.numbers.on(Arch::X86_64) == Some(number)).collect();
            let conditional = mine.iter().find(|r| !r.conditions.is_empty() && r.conditions.iter().all(|c| holds(c, &args)));
            let plain = mine.iter().find(|r| r.conditions.is_empty());
            let expected = conditional.or(plain).map_or(Action::ALLOW, |r| r.action);
            proptest::prop_assert_eq!(interpret(&program, &Call { arch: X86_64, number, args }), expected.value());
        }
    }
}
