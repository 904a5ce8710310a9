//! `/hello`, the only program of the embedded `hello-world` image: it greets, and tells what it sees of its
//! container with facts that it asks the kernel for, so that the greeting proves itself.
//!
//! A static program without a libc: `build.rs` compiles it, and the kernel finds nothing else in the image.
//! It allocates nothing, reads small files into one buffer on its stack, and writes once, at its end.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with the stack pointer at argc, not at a return address; the ABI wants it aligned.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "and $-16, %rsp",
    "call hello",
    options(att_syntax)
);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "bl hello");

/// System call numbers (asm/unistd_64.h, asm-generic/unistd.h).
#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const GETPID: usize = 39;
    pub const UNAME: usize = 63;
    pub const GETUID: usize = 102;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const GETDENTS64: usize = 61;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const UNAME: usize = 160;
    pub const GETPID: usize = 172;
    pub const GETUID: usize = 174;
}

/// One system call; a negative result is an errno.
///
/// # Safety
/// The arguments must be what the call expects; pointers among them must be valid for what it does.
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's ABI, all that it clobbers is named, and the caller
    // answers for the arguments. The fourth is 0: only openat has one here, a mode that O_RDONLY ignores.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") 0, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c,
             in("x3") 0, options(nostack));
    }
    result
}

/// Longest text that is read of any file: the one that matters most, /proc/self/status, has about 1,500.
const FILE_BYTES: usize = 4096;
/// The greeting has about 1,300 bytes; the facts in it cannot double that.
const OUTPUT_BYTES: usize = 4096;

/// A buffer that silently stops when full: a shortened greeting beats none.
struct Output {
    bytes: [u8; OUTPUT_BYTES],
    length: usize,
}

impl Output {
    fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.length) {
                *slot = *byte;
                self.length += 1;
            }
        }
        self
    }

    fn number(&mut self, mut value: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return self.raw(&digits[start..]);
            }
        }
    }

    /// Whether everything could be written to standard output.
    fn flush(&self) -> bool {
        let mut rest = &self.bytes[..self.length];
        while !rest.is_empty() {
            // SAFETY: the pointer and the length are of one live slice.
            let written = unsafe { syscall(number::WRITE, 1, rest.as_ptr() as usize, rest.len()) };
            if written <= 0 {
                return false;
            }
            rest = rest.get(written as usize..).unwrap_or_default();
        }
        true
    }
}

/// Opens read-only; `path` must end in NUL.
fn open(path: &str) -> Option<usize> {
    if !path.ends_with('\0') {
        return None;
    }
    const AT_FDCWD: isize = -100;
    // SAFETY: the path is NUL-terminated and lives through the call; flags 0 are O_RDONLY.
    let fd = unsafe { syscall(number::OPENAT, AT_FDCWD as usize, path.as_ptr() as usize, 0) };
    usize::try_from(fd).ok()
}

fn close(fd: usize) {
    // SAFETY: the descriptor is one that `open` returned, closed once.
    unsafe { syscall(number::CLOSE, fd, 0, 0) };
}

/// The beginning of a small file; empty when it cannot be read.
fn read_file<'b>(path: &str, buffer: &'b mut [u8; FILE_BYTES]) -> &'b [u8] {
    let Some(fd) = open(path) else { return &[] };
    let mut length = 0;
    while length < FILE_BYTES {
        let rest = &mut buffer[length..];
        // SAFETY: the kernel writes at most the slice's length to the slice.
        let count = unsafe { syscall(number::READ, fd, rest.as_mut_ptr() as usize, rest.len()) };
        if count <= 0 {
            break;
        }
        length += count as usize;
    }
    close(fd);
    &buffer[..length]
}

/// How many processes /proc shows: its entries whose names begin with a digit.
fn count_processes(buffer: &mut [u8; FILE_BYTES]) -> usize {
    // struct linux_dirent64: ino u64, off u64, reclen u16, type u8, name (getdents(2)).
    const RECORD_LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let Some(fd) = open("/proc\0") else { return 0 };
    let mut processes = 0;
    loop {
        // SAFETY: the kernel writes at most FILE_BYTES to the buffer.
        let count = unsafe { syscall(number::GETDENTS64, fd, buffer.as_mut_ptr() as usize, FILE_BYTES) };
        if count <= 0 {
            break;
        }
        let mut rest = &buffer[..count as usize];
        while rest.len() > NAME_AT {
            processes += usize::from(rest[NAME_AT].is_ascii_digit());
            let length =
                usize::from(u16::from_ne_bytes([rest[RECORD_LENGTH_AT], rest[RECORD_LENGTH_AT + 1]]));
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
    close(fd);
    processes
}

/// The `column`th word, from 0, of the first line in which word `key.0` is `key.1`.
fn word_of_line<'t>(text: &'t [u8], key: (usize, &str), column: usize) -> Option<&'t [u8]> {
    let words = |line: &'t [u8]| line.split(|b| matches!(b, b' ' | b'\t')).filter(|w| !w.is_empty());
    let line =
        text.split(|b| *b == b'\n').find(|line| words(line).nth(key.0).is_some_and(|w| same(w, key.1)))?;
    words(line).nth(column)
}

/// Equality byte by byte: `==` on slices would call `bcmp`, which a libc would have to provide.
fn same(left: &[u8], right: &str) -> bool {
    left.len() == right.len() && left.iter().zip(right.bytes()).all(|(l, r)| *l == r)
}

/// What `uname -n` says: the second of the six fields of 65 bytes of `struct new_utsname`.
fn host_name(buffer: &mut [u8; FILE_BYTES]) -> &[u8] {
    const FIELD: usize = 65;
    // SAFETY: the kernel writes 6 * 65 bytes, and the buffer is larger.
    if unsafe { syscall(number::UNAME, buffer.as_mut_ptr() as usize, 0, 0) } < 0 {
        return b"unknown";
    }
    let name = &buffer[FIELD..2 * FIELD];
    &name[..name.iter().position(|b| *b == 0).unwrap_or(FIELD)]
}

/// Called by `_start`; never returns.
#[unsafe(no_mangle)]
extern "C" fn hello() -> ! {
    let mut out = Output { bytes: [0; OUTPUT_BYTES], length: 0 };
    let mut buffer = [0; FILE_BYTES];
    // SAFETY: neither call takes arguments.
    let (pid, uid) = unsafe { (syscall(number::GETPID, 0, 0, 0), syscall(number::GETUID, 0, 0, 0)) };

    out.text("Hello from inside a container!\n\nTo get here, dhow took these steps, and this is what I see of them:\n");

    out.text(" 1. It took the image hello-world, one layer with one small program, out of its own binary,\n");
    out.text("    and mounted that layer with a writable one on top.\n");
    // /proc/mounts: device, mount point, type.
    let kind = word_of_line(read_file("/proc/mounts\0", &mut buffer), (1, "/"), 2).unwrap_or(b"unknown");
    out.text("      -> my root directory is a filesystem of type ").raw(kind).text("\n");

    out.text(" 2. It started a monitor, which keeps my output and my exit code, and which cloned me\n");
    out.text("    into namespaces of my own.\n");
    let processes = count_processes(&mut buffer);
    out.text("      -> I am process ").number(pid.unsigned_abs()).text(", and I see ").number(processes);
    out.text(if processes == 1 { " process in all" } else { " processes in all" });
    out.text("; my host name is ").raw(host_name(&mut buffer)).text("\n");

    out.text(
        " 3. It took away what I do not need: capabilities, devices, system calls, a view of the host.\n",
    );
    let status = read_file("/proc/self/status\0", &mut buffer);
    let capabilities = word_of_line(status, (0, "CapEff:"), 1).unwrap_or(b"unknown");
    let filtered = word_of_line(status, (0, "Seccomp:"), 1).is_some_and(|mode| same(mode, "2"));
    out.text("      -> I am user ")
        .number(uid.unsigned_abs())
        .text(" with the capabilities ")
        .raw(capabilities);
    out.text(if filtered {
        ", and my system calls are filtered\n"
    } else {
        ", and my system calls are not filtered\n"
    });

    out.text(" 4. It executed /hello, which wrote this text. The monitor passed it on to you.\n\n");
    out.text("Something larger: make an image of a directory, and run a shell in it:\n");
    out.text("  tar -C DIRECTORY -c . | dhow import - mine\n  dhow run -it --rm mine sh\n");

    let code = usize::from(!out.flush());
    loop {
        // SAFETY: it does not return, and takes a number.
        unsafe { syscall(number::EXIT_GROUP, code, 0, 0) };
    }
}

/// The compiler turns the initialisation of the buffers into this call, which a libc would provide.
///
/// # Safety
/// As C's: `to` is valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: within `count`. Volatile, so that the loop is not turned into a call of itself.
        unsafe { to.add(index).write_volatile(value as u8) };
    }
    to
}

/// See `memset`.
///
/// # Safety
/// As C's: both are valid for `count` bytes and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: within `count`; volatile as in `memset`.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
    to
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: it does not return, and takes a number.
        unsafe { syscall(number::EXIT_GROUP, 101, 0, 0) };
    }
}

/// Parts of `core` that were compiled to unwind name this; with `panic=abort` nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
