//! A policy as a classic BPF program (Documentation/userspace-api/seccomp_filter.rst).
//!
//! ```text
//! arch? ──► per architecture: binary search by number over ranges of equal treatment
//!             leaf, no conditions:  return action
//!             leaf, conditions:     test arguments rule by rule, return at the first that matches,
//!                                   else the unconditional rule's action, else the default
//! unknown architecture: kill
//! ```
//!
//! The kernel caches the answer for numbers whose path reads no argument (Linux 5.11), so the common calls do
//! not run this at all.

use super::table::{Arch, Numbers, X32_BIT};
use dhow_model::{Error, Result};
use std::collections::BTreeMap;

/// A return value of a filter (SECCOMP_RET_*, include/uapi/linux/seccomp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(u32);

impl Action {
    pub(super) const ALLOW: Self = Self(0x7fff_0000);
    pub(super) const LOG: Self = Self(0x7ffc_0000);
    pub(super) const TRAP: Self = Self(0x0003_0000);
    pub(super) const KILL_THREAD: Self = Self(0);
    pub(super) const KILL_PROCESS: Self = Self(0x8000_0000);

    pub(super) fn errno(number: u32) -> Self {
        Self(0x0005_0000 | number)
    }

    #[cfg(test)]
    pub(super) fn value(self) -> u32 {
        self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A test of one argument: `(argument & mask) compare value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub index: u32,
    pub compare: Compare,
    pub mask: u64,
    pub value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub numbers: Numbers,
    pub conditions: Vec<Condition>,
    pub action: Action,
}

#[derive(Debug)]
pub(super) struct Policy {
    pub default: Action,
    pub rules: Vec<Rule>,
    pub arches: Vec<Arch>,
    /// Every call that the profile names, whether its rule was selected or not.
    pub known: Vec<Numbers>,
}

impl Policy {
    /// The first number after all that the profile names on an architecture, when calls from there on are to answer
    /// ENOSYS. A profile that allows what it does not name has none.
    fn unknown_from(&self, arch: Arch) -> Option<u32> {
        let permissive = [Action::ALLOW, Action::LOG].contains(&self.default);
        let newest = self.known.iter().filter_map(|numbers| numbers.on(arch)).max();
        newest.filter(|_| !permissive).map(|newest| newest + 1)
    }
}

/// ENOSYS (include/uapi/asm-generic/errno.h).
const ENOSYS: u32 = 38;

/// struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl Instruction {
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let [c0, c1] = self.code.to_ne_bytes();
        let [k0, k1, k2, k3] = self.k.to_ne_bytes();
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

// Opcodes (include/uapi/linux/bpf_common.h): class | size or operation | source.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

// Offsets in struct seccomp_data. Little-endian: the low half of an argument comes first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn give(action: Action) -> Instruction {
    statement(RETURN, action.0)
}

/// How one number is treated: rules in order, and what happens when none matches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Treatment {
    conditional: Vec<(Vec<Condition>, Action)>,
    otherwise: Action,
}

/// The whole program.
///
/// # Errors
/// `InvalidArgument` when a single call has more conditions than jumps can cross.
pub(super) fn assemble(policy: &Policy) -> Result<Vec<Instruction>> {
    let x32 = policy.arches.contains(&Arch::X32);
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    for arch in policy.arches.iter().copied().filter(|arch| *arch != Arch::X32) {
        let mut section = vec![statement(LOAD, NUMBER)];
        let mut ranges = ranges(policy, arch, 0);
        if arch == Arch::X86_64 && x32 {
            ranges.extend(self::ranges(policy, Arch::X32, X32_BIT));
        }
        section.extend(search(&ranges)?);
        // Another architecture: over the section, which is longer than a conditional jump.
        program.push(Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: arch.audit() });
        program.push(statement(JUMP, length(&section)?));
        program.extend(section);
    }
    program.push(give(Action::KILL_PROCESS));
    Ok(program)
}

fn length(code: &[Instruction]) -> Result<u32> {
    u32::try_from(code.len()).map_err(|_| Error::invalid("the profile is too large"))
}

/// What happens to each number that a rule names.
fn treatments(policy: &Policy, arch: Arch, bit: u32) -> BTreeMap<u32, Treatment> {
    let mut treatments: BTreeMap<u32, Treatment> = BTreeMap::new();
    let mut settled: BTreeMap<u32, ()> = BTreeMap::new();
    for rule in &policy.rules {
        let Some(number) = rule.numbers.on(arch).map(|n| n | bit) else { continue };
        let treatment = treatments
            .entry(number)
            .or_insert_with(|| Treatment { conditional: Vec::new(), otherwise: policy.default });
        if !rule.conditions.is_empty() {
            treatment.conditional.push((rule.conditions.clone(), rule.action));
        } else if settled.insert(number, ()).is_none() {
            // The first unconditional rule counts, after every conditional one.
            treatment.otherwise = rule.action;
        }
    }
    for treatment in treatments.values_mut() {
        // "Allow if …, allow": the tests decide nothing.
        let otherwise = treatment.otherwise;
        if treatment.conditional.iter().all(|(_, action)| *action == otherwise) {
            treatment.conditional.clear();
        }
    }
    treatments
}

/// Ranges of equal treatment that cover all numbers from `bit` on: (first number, treatment).
fn ranges(policy: &Policy, arch: Arch, bit: u32) -> Vec<(u32, Treatment)> {
    let plain = |action| Treatment { conditional: Vec::new(), otherwise: action };
    let default = plain(policy.default);
    let mut ranges: Vec<(u32, Treatment)> = Vec::new();
    let mut push = |first: u32, treatment: &Treatment| {
        if ranges.last().is_none_or(|(_, last)| last != treatment) {
            ranges.push((first, treatment.clone()));
        }
    };
    let mut next = bit;
    for (number, treatment) in &treatments(policy, arch, bit) {
        if *number > next {
            push(next, &default);
        }
        push(*number, treatment);
        next = number + 1;
    }
    match policy.unknown_from(arch).map(|first| first | bit) {
        Some(first) => {
            if first > next {
                push(next, &default);
            }
            push(first, &plain(Action::errno(ENOSYS)));
        }
        None => push(next, &default),
    }
    ranges
}

/// A binary search over ranges; the accumulator holds the number.
fn search(ranges: &[(u32, Treatment)]) -> Result<Vec<Instruction>> {
    match ranges {
        [] => Ok(Vec::new()),
        [(_, treatment)] => leaf(treatment),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let (first_above, _) = above[0];
            let (below, above) = (search(below)?, search(above)?);
            let mut code = Vec::with_capacity(below.len() + above.len() + 2);
            match u8::try_from(below.len()) {
                Ok(distance) => {
                    code.push(Instruction { code: JUMP_GREATER_EQUAL, jt: distance, jf: 0, k: first_above });
                }
                Err(_) => {
                    code.push(Instruction { code: JUMP_GREATER_EQUAL, jt: 0, jf: 1, k: first_above });
                    code.push(statement(JUMP, length(&below)?));
                }
            }
            code.extend(below);
            code.extend(above);
            Ok(code)
        }
    }
}

fn leaf(treatment: &Treatment) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    for (conditions, action) in &treatment.conditional {
        let tests: Vec<Vec<Test>> = conditions.iter().map(tests).collect();
        code.extend(matching(&tests, *action)?);
    }
    code.push(give(treatment.otherwise));
    Ok(code)
}

/// One step of a condition: load a half, mask it, jump.
#[derive(Debug, Clone, Copy)]
struct Test {
    offset: u32,
    mask: u32,
    code: u16,
    value: u32,
    on_true: Next,
    on_false: Next,
}

/// Where a test leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next test of this condition.
    Continue,
    /// The condition holds.
    Holds,
    /// It does not.
    Fails,
}

/// 64-bit comparison in halves: the high one decides unless it is equal. Where the high half of the argument does not
/// count and that of the value is zero, the low half decides.
fn tests(condition: &Condition) -> Vec<Test> {
    let half = |value: u64, shift: u32| u32::try_from(value >> shift & u64::from(u32::MAX)).unwrap_or(0);
    let low_offset = ARGUMENTS + condition.index * 8;
    let high = |code, on_true, on_false| Test {
        offset: low_offset + 4,
        mask: half(condition.mask, 32),
        code,
        value: half(condition.value, 32),
        on_true,
        on_false,
    };
    let low = |code, on_true, on_false| Test {
        offset: low_offset,
        mask: half(condition.mask, 0),
        value: half(condition.value, 0),
        code,
        on_true,
        on_false,
    };
    use Next::{Continue, Fails, Holds};
    if condition.mask >> 32 == 0 && condition.value >> 32 == 0 {
        return vec![match condition.compare {
            Compare::Equal => low(JUMP_EQUAL, Holds, Fails),
            Compare::NotEqual => low(JUMP_EQUAL, Fails, Holds),
            Compare::Greater => low(JUMP_GREATER, Holds, Fails),
            Compare::GreaterOrEqual => low(JUMP_GREATER_EQUAL, Holds, Fails),
            Compare::Less => low(JUMP_GREATER_EQUAL, Fails, Holds),
            Compare::LessOrEqual => low(JUMP_GREATER, Fails, Holds),
        }];
    }
    match condition.compare {
        Compare::Equal => vec![high(JUMP_EQUAL, Continue, Fails), low(JUMP_EQUAL, Holds, Fails)],
        Compare::NotEqual => vec![high(JUMP_EQUAL, Continue, Holds), low(JUMP_EQUAL, Fails, Holds)],
        Compare::Greater => vec![
            high(JUMP_GREATER, Holds, Continue),
            high(JUMP_EQUAL, Continue, Fails),
            low(JUMP_GREATER, Holds, Fails),
        ],
        Compare::GreaterOrEqual => vec![
            high(JUMP_GREATER, Holds, Continue),
            high(JUMP_EQUAL, Continue, Fails),
            low(JUMP_GREATER_EQUAL, Holds, Fails),
        ],
        Compare::Less => vec![
            high(JUMP_GREATER, Fails, Continue),
            high(JUMP_EQUAL, Continue, Holds),
            low(JUMP_GREATER_EQUAL, Fails, Holds),
        ],
        Compare::LessOrEqual => vec![
            high(JUMP_GREATER, Fails, Continue),
            high(JUMP_EQUAL, Continue, Holds),
            low(JUMP_GREATER, Fails, Holds),
        ],
    }
}

/// Code that returns `action` when every condition holds and falls through otherwise.
fn matching(conditions: &[Vec<Test>], action: Action) -> Result<Vec<Instruction>> {
    // Length of one test: load, perhaps mask, jump.
    let size = |test: &Test| if test.mask == u32::MAX { 2 } else { 3 };
    let total: usize = conditions.iter().flatten().map(size).sum();
    let end = total + 1;
    let mut code = Vec::with_capacity(end);
    for (index, condition) in conditions.iter().enumerate() {
        let start = code.len();
        let next_condition = start + condition.iter().map(size).sum::<usize>();
        let holds = if index + 1 == conditions.len() { total } else { next_condition };
        for test in condition {
            code.push(statement(LOAD, test.offset));
            if test.mask != u32::MAX {
                code.push(statement(AND, test.mask));
            }
            let here = code.len() + 1;
            let distance = |next: Next| {
                let target = match next {
                    Next::Continue => here,
                    Next::Holds => holds,
                    Next::Fails => end,
                };
                u8::try_from(target - here).map_err(|_| Error::invalid("a rule has too many conditions"))
            };
            let (jt, jf) = (distance(test.on_true)?, distance(test.on_false)?);
            code.push(Instruction { code: test.code, jt, jf, k: test.value });
        }
    }
    code.push(give(action));
    Ok(code)
}
