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
