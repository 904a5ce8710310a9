//! Clocks by number (clock_gettime(2)), in nanoseconds. No system call on most machines.

/// CLOCK_MONOTONIC, which all processes of a machine share but those in a time namespace of their own.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_PROCESS_CPUTIME_ID: the time that this process has run for.
pub fn process_cpu_ns() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is what the call fills; the clocks named here exist everywhere.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// How many seconds local time is ahead of UTC at a moment (seconds since 1970), by /etc/localtime or `TZ`.
pub fn local_offset_seconds(moment: i64) -> i64 {
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values; the result is the second one, filled, or null.
    let filled = unsafe { libc::localtime_r(&raw const moment, local.as_mut_ptr()) };
    if filled.is_null() {
        return 0;
    }
    // SAFETY: filled in, as was just checked.
    unsafe { local.assume_init() }.tm_gmtoff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        let (wall, cpu) = (monotonic_ns(), process_cpu_ns());
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(monotonic_ns() >= wall + 2_000_000);
        assert!(process_cpu_ns() >= cpu && process_cpu_ns() > 0);
    }
}
