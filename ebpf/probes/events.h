/*
 * What the probes write and the loader reads: the one description of both sides. `cargo xtask bpf` turns it
 * into src/bindings.rs with bindgen.
 *
 * Fixed-size parts only: text follows its struct in the record, its length is in the struct. All numbers are
 * of the machine's own byte order.
 */
#ifndef DHOW_EVENTS_H
#define DHOW_EVENTS_H

#include <stdint.h>

/** A new process, seen from the child. */
#define TRACE_FORK 0
/** A process runs another program. */
#define TRACE_EXEC 1
/** A process has ended: its last thread, not each. */
#define TRACE_EXIT 2
/** A process that the OOM killer chose has ended. */
#define TRACE_OOM 3
/** A file was opened, or could not be. */
#define TRACE_OPEN 4
/** How many of the kinds above there are. */
#define TRACE_KINDS 5
/** A traced cgroup was removed: nothing of it comes after this. */
#define TRACE_LEFT 5

/** Length of a container's id, which is the name of its cgroup. */
#define TRACE_NAME_BYTES 64
/** Depths of the cgroup tree at which containers are looked for. */
#define TRACE_DEPTHS 32

/** The text is longer than what is in the record, or could not be read. */
#define TRACE_TRUNCATED 1

/** What every record begins with. */
struct trace_head {
	/** CLOCK_BOOTTIME, in nanoseconds. */
	uint64_t boot_ns;
	/** Id of the container's own cgroup, also when the process is in one below it. */
	uint64_t cgroup;
	/** One of TRACE_FORK and its like. */
	uint32_t kind;
	/** TRACE_TRUNCATED. */
	uint32_t flags;
	/** The process in the initial pid namespace. */
	uint32_t host_pid;
	/** The thread in the initial pid namespace. */
	uint32_t host_tid;
	/** The parent in the initial pid namespace. */
	uint32_t host_ppid;
	/** The process in its own pid namespace. */
	uint32_t pid;
	/** The thread in that namespace. */
	uint32_t tid;
	/** The parent in that namespace; 0 when it is outside. */
	uint32_t ppid;
	/** Its user as the host sees it. */
	uint32_t uid;
	/** Its group as the host sees it. */
	uint32_t gid;
	/** The name of the thread, ended by a zero byte. */
	uint8_t comm[16];
};

/** TRACE_EXEC. The path follows, then the arguments, each ended by a zero byte. */
struct trace_exec {
	struct trace_head head;
	/** Bytes of the path in this record, with its zero byte. */
	uint32_t path_bytes;
	/** Bytes of arguments in this record. */
	uint32_t args_bytes;
};

/** TRACE_EXIT. */
struct trace_exit {
	struct trace_head head;
	/** As wait(2) gives it. */
	uint32_t status;
	/** Whether the OOM killer had chosen it. */
	uint32_t oom;
};

/** TRACE_OOM. */
struct trace_oom {
	struct trace_head head;
	/** Pages of the address space. */
	uint64_t total_vm_pages;
};

/** TRACE_OPEN. The path follows. */
struct trace_open {
	struct trace_head head;
	/** What the call returned: a descriptor, or an error number below zero. */
	int32_t result;
	/** The directory that a relative path starts from: a descriptor, or AT_FDCWD. */
	int32_t directory;
	/** O_RDONLY and the like. */
	uint32_t open_flags;
	/** Bytes of the path in this record, with its zero byte. */
	uint32_t path_bytes;
};

/** A cgroup that is traced, and what of it was lost. */
struct trace_scope {
	/** The cgroup's name: the container's id. */
	uint8_t name[TRACE_NAME_BYTES];
	/** Records for which there was no room, by kind. */
	uint64_t lost[TRACE_KINDS];
	/** The cgroup was removed: whoever reads this may remove the entry. */
	uint32_t gone;
	uint32_t unused;
};

#endif
