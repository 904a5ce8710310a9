//! Docker's JSON form of a policy, and which of its rules apply.

use super::narrow::is_narrow;
use super::program::{Action, Compare, Condition, Policy, Rule};
use super::table::{self, Arch};
use crate::facts::KernelVersion;
use dhow_model::security::capability_bit;
use dhow_model::{Error, Result, members};
use serde::Deserialize;
use serde_json::{Value, json};

/// EPERM, what a refused call answers unless the profile says otherwise.
const DEFAULT_ERRNO: u32 = 1;
/// The kernel takes no larger errno (include/linux/err.h, MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;
/// System calls have six arguments.
const ARGUMENTS: u32 = 6;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    /// The older way to say what `archMap` says.
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

pub(super) fn parse(json: &str) -> Result<Profile> {
    members::from_slice(json.as_bytes()).map_err(|error| Error::invalid(error.to_string()))
}

impl Profile {
    /// The rules that apply to a process with these capabilities on this kernel.
    pub(super) fn select(&self, capability_mask: u64, kernel: KernelVersion) -> Result<Policy> {
        if self.flags.as_ref().is_some_and(|f| !f.is_empty()) || self.listener_path.is_some() {
            return Err(Error::unsupported("seccomp flags and listeners are not supported"));
        }
        let default_errno = self.default_errno_ret.unwrap_or(DEFAULT_ERRNO);
        let default = action(&self.default_action, default_errno)?;
        let mut rules = Vec::new();
        for entry in self.syscalls.iter().flatten() {
            let includes = entry.includes.as_ref();
            let excludes = entry.excludes.as_ref();
            if !includes.is_none_or(|f| f.all_hold(capability_mask, kernel))
                || excludes.is_some_and(|f| f.any_holds(capability_mask, kernel))
            {
                continue;
            }
            let action = action(&entry.action, entry.errno_ret.unwrap_or(default_errno))?;
            let conditions: Vec<Condition> =
                entry.args.iter().flatten().map(condition).collect::<Result<_>>()?;
            for name in entry.names.iter().flatten().chain(&entry.name) {
                let numbers = table::lookup(name)
                    .ok_or_else(|| Error::invalid(format!("unknown system call {name:?}")))?;
                let conditions = conditions.iter().map(|c| as_the_kernel_reads(name, *c)).collect();
                rules.push(Rule { numbers, conditions, action });
            }
        }
        Ok(Policy { default, rules, arches: self.arches(), known: self.known() })
    }

    /// The numbers of all calls that the profile names.
    fn known(&self) -> Vec<table::Numbers> {
        let entries = self.syscalls.iter().flatten();
        let names = entries.flat_map(|entry| entry.names.iter().flatten().chain(&entry.name));
        names.filter_map(|name| table::lookup(name)).collect()
    }

    /// The rules that apply, as OCI writes them.
    pub(super) fn to_oci(&self, capability_mask: u64, kernel: KernelVersion) -> Value {
        let entries = self.syscalls.iter().flatten().filter(|entry| {
            entry.includes.as_ref().is_none_or(|f| f.all_hold(capability_mask, kernel))
                && !entry.excludes.as_ref().is_some_and(|f| f.any_holds(capability_mask, kernel))
        });
        let rules: Vec<Value> = entries
            .map(|entry| {
                let names: Vec<&String> = entry.names.iter().flatten().chain(&entry.name).collect();
                let args: Vec<Value> = entry
                    .args
                    .iter()
                    .flatten()
                    .map(|a| json!({"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op}))
                    .collect();
                let mut rule = json!({"names": names, "action": entry.action, "args": args});
                if let Some(errno) = entry.errno_ret {
                    rule["errnoRet"] = json!(errno);
                }
                rule
            })
            .collect();
        // Only our own: with those below it, libseccomp 2.5 cannot add the rules for `socket` and `socketcall` both.
        // A program for another architecture is refused all system calls.
        json!({
            "defaultAction": self.default_action,
            "defaultErrnoRet": self.default_errno_ret.unwrap_or(DEFAULT_ERRNO),
            "architectures": [Arch::NATIVE.name()],
            "syscalls": rules,
        })
    }

    /// The machine's own architecture, and those below it that the profile names.
    fn arches(&self) -> Vec<Arch> {
        let named: Vec<&String> = match (&self.arch_map, &self.architectures) {
            (Some(map), _) => map
                .iter()
                .filter(|entry| entry.architecture == Arch::NATIVE.name())
                .flat_map(|entry| entry.sub_architectures.iter().flatten())
                .collect(),
            (None, Some(names)) => names.iter().collect(),
            (None, None) => Vec::new(),
        };
        Arch::ALL
            .into_iter()
            .filter(|arch| {
                *arch == Arch::NATIVE || arch.runs_here() && named.iter().any(|name| *name == arch.name())
            })
            .collect()
    }
}

impl Filter {
    /// For `includes`: every condition must hold.
    fn all_hold(&self, mask: u64, kernel: KernelVersion) -> bool {
        let caps = self.caps.iter().flatten().all(|c| capability_bit(c).is_some_and(|bit| mask & bit != 0));
        let arches = self.arches.as_ref().is_none_or(|list| list.is_empty() || names_us(list));
        caps && arches && self.min_kernel.as_deref().is_none_or(|text| at_least(text, kernel))
    }

    /// For `excludes`: one is enough.
    fn any_holds(&self, mask: u64, kernel: KernelVersion) -> bool {
        self.caps.iter().flatten().any(|c| capability_bit(c).is_some_and(|bit| mask & bit != 0))
            || self.arches.as_ref().is_some_and(|list| names_us(list))
            || self.min_kernel.as_deref().is_some_and(|text| at_least(text, kernel))
    }
}

/// Architectures in filters are Go's words.
fn names_us(list: &[String]) -> bool {
    list.iter().any(|name| name == Arch::NATIVE.go_name())
}

fn at_least(text: &str, kernel: KernelVersion) -> bool {
    KernelVersion::parse(text).is_some_and(|wanted| kernel >= wanted)
}

fn action(name: &str, errno: u32) -> Result<Action> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_TRAP" => Action::TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_ERRNO" if errno <= MAX_ERRNO => Action::errno(errno),
        "SCMP_ACT_ERRNO" => return Err(Error::invalid(format!("errno {errno} is out of range"))),
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => {
            return Err(Error::unsupported(format!("seccomp action {name} is not supported")));
        }
        _ => return Err(Error::invalid(format!("unknown seccomp action {name:?}"))),
    })
}

/// Cuts the test of an argument that the kernel cuts.
fn as_the_kernel_reads(call: &str, condition: Condition) -> Condition {
    const LOW: u64 = u32::MAX as u64;
    if !is_narrow(call, condition.index) {
        return condition;
    }
    // -1 is written with all 64 bits, too.
    let negative = condition.value >> 31 == LOW << 1 | 1;
    let value = if negative { condition.value & LOW } else { condition.value };
    Condition { mask: condition.mask & LOW, value, ..condition }
}

fn condition(argument: &Argument) -> Result<Condition> {
    if argument.index >= ARGUMENTS {
        return Err(Error::invalid(format!("system calls have no argument {}", argument.index)));
    }
    let (compare, mask, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Compare::NotEqual, u64::MAX, argument.value),
        "SCMP_CMP_LT" => (Compare::Less, u64::MAX, argument.value),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, u64::MAX, argument.value),
        "SCMP_CMP_EQ" => (Compare::Equal, u64::MAX, argument.value),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, u64::MAX, argument.value),
        "SCMP_CMP_GT" => (Compare::Greater, u64::MAX, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Compare::Equal, argument.value, argument.value_two),
        other => return Err(Error::invalid(format!("unknown seccomp operator {other:?}"))),
    };
    Ok(Condition { index: argument.index, compare, mask, value })
}
