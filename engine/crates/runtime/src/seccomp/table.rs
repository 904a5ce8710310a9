//! System calls by name.

/// An architecture whose calls a program on this machine can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
}

/// Names and numbers; see the file's head.
const TABLE: &str = include_str!("syscalls.txt");

/// x32 calls carry this bit (arch/x86/include/uapi/asm/unistd.h, __X32_SYSCALL_BIT).
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    #[cfg(target_arch = "x86_64")]
    pub(super) const NATIVE: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const NATIVE: Self = Self::Aarch64;

    pub(super) const ALL: [Self; 4] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64];

    /// Whether programs of this kind can run on a machine like this.
    pub(super) fn runs_here(self) -> bool {
        cfg!(target_arch = "x86_64") == (self != Self::Aarch64)
    }

    /// As profiles name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// As Go, and so the filters of profiles, name it.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
        }
    }

    /// AUDIT_ARCH_* of include/uapi/linux/audit.h: what the filter sees. x32 has no value of its own.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// The numbers of one call on each architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers([Option<u32>; 4]);

impl Numbers {
    pub(super) fn on(self, arch: Arch) -> Option<u32> {
        match arch {
            Arch::X86_64 => self.0[0],
            Arch::X86 => self.0[1],
            Arch::X32 => self.0[2],
            Arch::Aarch64 => self.0[3],
        }
    }
}

/// `None` for a name that no architecture has.
pub(super) fn lookup(name: &str) -> Option<Numbers> {
    lines().find(|(known, _)| *known == name).map(|(_, numbers)| numbers)
}

pub(super) fn lines() -> impl Iterator<Item = (&'static str, Numbers)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let mut number = || words.next().and_then(|word| word.parse().ok());
        Some((name, Numbers([number(), number(), number(), number()])))
    })
}
