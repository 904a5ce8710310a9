//! Which devices a container may use: v1's `devices` controller, or on v2 a small eBPF program.

use dhow_model::container::HostConfig;
use dhow_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What every container may use: make any node, use the harmless ones and terminals (Docker's list).
const DEFAULT_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 136:* rwm",
];

/// Device permissions of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DevicePlan {
    /// Privileged: everything.
    All,
    /// Only these.
    Only {
        /// By number.
        rules: Vec<DeviceRule>,
        /// By host path, whose numbers are read at launch, with permissions.
        nodes: Vec<(PathBuf, String)>,
    },
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Block or character; `None`: both.
    pub block: Option<bool>,
    /// `None`: any.
    pub major: Option<u32>,
    /// `None`: any.
    pub minor: Option<u32>,
    /// Make nodes.
    pub mknod: bool,
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
}

pub(super) fn plan(host: &HostConfig) -> Result<DevicePlan> {
    if host.security.privileged {
        return Ok(DevicePlan::All);
    }
    let rules = DEFAULT_RULES
        .iter()
        .copied()
        .chain(host.resources.device_cgroup_rules.iter().map(String::as_str))
        .map(DeviceRule::parse)
        .collect::<Result<_>>()?;
    let nodes =
        host.resources.devices.iter().map(|d| (d.host_path.clone().into(), d.permissions.clone())).collect();
    Ok(DevicePlan::Only { rules, nodes })
}

impl DeviceRule {
    /// Reads `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid device cgroup format: '{text}'"));
        let mut words = text.split_whitespace();
        let (Some(kind), Some(numbers), Some(permissions), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid());
        };
        let block = match kind {
            "a" => None,
            "b" => Some(true),
            "c" => Some(false),
            _ => return Err(invalid()),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| invalid()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        Self::permitting(permissions)
            .map(|rule| -> Result<Self> {
                Ok(Self { block, major: number(major)?, minor: number(minor)?, ..rule })
            })
            .ok_or_else(invalid)?
    }

    /// A rule for every device with these permissions (`rwm`).
    pub(crate) fn permitting(permissions: &str) -> Option<Self> {
        if permissions.is_empty() || !permissions.chars().all(|c| "rwm".contains(c)) {
            return None;
        }
        let has = |c| permissions.contains(c);
        Some(Self { block: None, major: None, minor: None, mknod: has('m'), read: has('r'), write: has('w') })
    }

    /// The eBPF access bits (BPF_DEVCG_ACC_* of include/uapi/linux/bpf.h).
    fn access(self) -> u32 {
        u32::from(self.mknod) | u32::from(self.read) << 1 | u32::from(self.write) << 2
    }
}

/// As v1's `devices.allow` wants it.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.block {
            None => "a",
            Some(true) => "b",
            Some(false) => "c",
        };
        write!(f, "{kind} {}:{} ", any(self.major), any(self.minor))?;
        for (on, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if on {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DevicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Only { rules, nodes } => {
                for (index, rule) in rules.iter().enumerate() {
                    write!(f, "{}{rule}", if index == 0 { "" } else { ", " })?;
                }
                nodes
                    .iter()
                    .try_for_each(|(path, permissions)| write!(f, ", {} {permissions}", path.display()))
            }
        }
    }
}

/// One eBPF instruction: opcode, registers, jump offset, immediate (include/uapi/linux/bpf.h).
fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> u64 {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    u64::from_le_bytes([opcode, destination | source << 4, o0, o1, i0, i1, i2, i3])
}

/// The v2 program: allows what any rule allows, refuses the rest.
///
/// ```text
/// r2 = type, r3 = access, r4 = major, r5 = minor
/// each rule:  type differs → next;  access not within → next;  numbers differ → next;  return 1
/// return 0
/// ```
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const AND32: u8 = 0x54;
    const SHIFT_RIGHT32: u8 = 0x74;
    const JUMP_NOT_EQUAL32: u8 = 0x56;
    const EXIT: u8 = 0x95;
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND32, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT32, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // (register, value) pairs that must hold.
        let mut tests = Vec::new();
        if let Some(block) = rule.block {
            tests.push((2, if block { 1 } else { 2 }));
        }
        tests.extend(rule.major.map(|major| (4, major)));
        tests.extend(rule.minor.map(|minor| (5, minor)));
        let access_length = 3;
        let mut left = i16::try_from(tests.len() + access_length + 1).unwrap_or(i16::MAX);
        for (register, value) in tests {
            code.push(instruction(JUMP_NOT_EQUAL32, register, 0, left, value));
            left -= 1;
        }
        // r0 = what is wanted beyond the rule; anything left: next rule. After it come two instructions.
        code.push(instruction(MOVE, 0, 3, 0, 0));
        code.push(instruction(AND32, 0, 0, 0, !rule.access()));
        code.push(instruction(JUMP_NOT_EQUAL32, 0, 0, 2, 0));
        code.push(instruction(SET, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(SET, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_round_trip() {
        for text in DEFAULT_RULES.iter().chain(&["b 8:* r", "a *:* rwm"]) {
            assert_eq!(DeviceRule::parse(text).unwrap().to_string(), *text);
        }
        for bad in ["", "c", "x 1:3 rwm", "c 1 rwm", "c 1:3 rwx", "c 1:3", "c -1:3 r", "c 1:3 r w"] {
            assert!(DeviceRule::parse(bad).is_err(), "{bad}");
        }
    }

    /// Just enough of an interpreter for the six opcodes.
    // The machine's 32-bit operations drop the upper half.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn run(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0usize;
        loop {
            let bytes = code[pc].to_le_bytes();
            let (d, s) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_le_bytes([bytes[2], bytes[3]]);
            let value = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            pc += 1;
            match bytes[0] {
                0x61 => r[d] = u64::from(context[offset as usize / 4]),
                0xbf => r[d] = r[s],
                0xb7 => r[d] = u64::from(value),
                0x54 => r[d] = u64::from(r[d] as u32 & value),
                0x74 => r[d] = u64::from(r[d] as u32 >> value),
                0x56 => {
                    if r[d] as u32 != value {
                        pc += usize::try_from(offset).unwrap();
                    }
                }
                0x95 => return r[0],
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_allows_exactly_the_rules() {
        let rules: Vec<DeviceRule> = DEFAULT_RULES.iter().map(|r| DeviceRule::parse(r).unwrap()).collect();
        let code = program(&rules);
        let (block, character, mknod, read, write) = (1, 2, 1, 2, 4);
        assert_eq!(run(&code, character, read | write, 1, 3), 1, "/dev/null");
        assert_eq!(run(&code, character, read, 1, 1), 0, "/dev/mem");
        assert_eq!(run(&code, character, write, 136, 77), 1, "a terminal");
        assert_eq!(run(&code, block, mknod, 8, 0), 1, "making a node");
        assert_eq!(run(&code, block, read, 8, 0), 0, "a disk");
        assert_eq!(run(&code, block, mknod | read, 8, 0), 0);
        assert_eq!(run(&code, block, read, 1, 3), 0, "same number, other kind");
    }
}
