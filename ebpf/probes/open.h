/*
 * Files: open with path and result.
 *
 * One program at the end of all system calls, and none at their begin: the arguments are still in the saved
 * registers, and the kernel has just read the path, so that its page is there. This slows every system call of
 * the machine a little: attached only when somebody asks.
 */
#ifndef DHOW_OPEN_H
#define DHOW_OPEN_H

#include "process.h"

#define SMALL_OPEN 112
#define LARGE_OPEN 4096
#define AT_FDCWD -100
#define O_CREAT_WRONLY_TRUNC 01101

/* The call that opened a file, in one form for all of them. */
struct opening {
	const void *path;
	int32_t directory;
	uint32_t flags;
};

/* What struct open_how begins with. */
struct open_how {
	uint64_t flags;
};

/* openat2 has its flags in memory. */
INLINE uint32_t flags_of(const void *how)
{
	uint64_t flags = 0;
	bpf_probe_read_user(&flags, sizeof(flags), how);
	return flags;
}

/* The numbers of the x86-64 system call table; 0 when it is another call. */
INLINE int opening_x86(struct pt_regs___x86 *regs, struct opening *call)
{
	switch (regs->orig_ax) {
	case 257: /* openat */
		*call = (struct opening){(void *)regs->si, regs->di, regs->dx};
		return 1;
	case 437: /* openat2 */
		*call = (struct opening){(void *)regs->si, regs->di, flags_of((void *)regs->dx)};
		return 1;
	case 2: /* open */
		*call = (struct opening){(void *)regs->di, AT_FDCWD, regs->si};
		return 1;
	case 85: /* creat */
		*call = (struct opening){(void *)regs->di, AT_FDCWD, O_CREAT_WRONLY_TRUNC};
		return 1;
	}
	return 0;
}

/* The numbers of the generic table, which arm64 has. */
INLINE int opening_arm64(struct pt_regs___arm64 *regs, struct opening *call)
{
	switch (regs->syscallno) {
	case 56: /* openat */
		*call = (struct opening){(void *)regs->regs[1], regs->orig_x0, regs->regs[2]};
		return 1;
	case 437: /* openat2 */
		*call = (struct opening){(void *)regs->regs[1], regs->orig_x0, flags_of((void *)regs->regs[2])};
		return 1;
	}
	return 0;
}

INLINE int open_record(struct task_struct *task, struct opening *call, long result, uint64_t cgroup,
		       uint32_t room, int last)
{
	struct trace_open *open = bpf_ringbuf_reserve(&ring, sizeof(*open) + room, 0);
	if (!open) {
		count_loss(cgroup, TRACE_OPEN);
		return 1;
	}
	long path = bpf_probe_read_user_str(open + 1, room, call->path);
	if (path == room && !last) {
		bpf_ringbuf_discard(open, BPF_RB_NO_WAKEUP);
		return 0;
	}
	fill_head(&open->head, task, TRACE_OPEN, cgroup);
	if (path < 0 || path >= room)
		open->head.flags |= TRACE_TRUNCATED;
	open->path_bytes = path < 0 ? 0 : path;
	open->result = result;
	open->directory = call->directory;
	open->open_flags = call->flags;
	submit(open);
	return 1;
}

SEC("tp_btf/sys_exit")
int call_returned(uint64_t *context)
{
	void *regs = (void *)context[0];
	long result = context[1];
	struct opening call = {};
	if (HAS(((struct pt_regs___x86 *)0)->orig_ax)) {
		if (!opening_x86(regs, &call))
			return 0;
	} else if (HAS(((struct pt_regs___arm64 *)0)->syscallno)) {
		if (!opening_arm64(regs, &call))
			return 0;
	} else {
		return 0;
	}
	struct task_struct *task = bpf_get_current_task_btf();
	struct scope scope = scope_of(task);
	if (!(scope.kinds & 1 << TRACE_OPEN))
		return 0;
	uint32_t pid = task->tgid;
	if (bpf_map_lookup_elem(&setting_up, &pid))
		return 0;
	if (!open_record(task, &call, result, scope.cgroup, SMALL_OPEN, 0))
		open_record(task, &call, result, scope.cgroup, LARGE_OPEN, 1);
	return 0;
}

#endif
