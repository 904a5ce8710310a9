/*
 * Processes: fork, exec, exit, and the OOM killer's victims.
 */
#ifndef DHOW_PROCESS_H
#define DHOW_PROCESS_H

#include "scope.h"

/* Two sizes of an exec record each: nearly all fit the small one, and a record's size must be a constant. */
#define SMALL_PATH 128
#define SMALL_ARGS 384
#define LARGE_PATH 4096
#define LARGE_ARGS 8192

/*
 * Processes that came into a traced cgroup from outside and have not executed a program since: the runtime's
 * own child, which sets itself up. By process id of the initial namespace.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, uint32_t);
	__type(value, uint32_t);
} setting_up SEC(".maps");

/* Processes with several threads whose end is recorded: the last two may both find themselves the last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, uint64_t);
	__type(value, uint32_t);
} ended SEC(".maps");

SEC("tp_btf/sched_process_fork")
int process_forked(uint64_t *context)
{
	struct task_struct *parent = (void *)context[0];
	struct task_struct *child = (void *)context[1];
	/* A thread. */
	if (child->pid != child->tgid)
		return 0;
	struct scope scope = scope_of(child);
	if (!scope.kinds)
		return 0;
	uint32_t pid = child->tgid, maker = parent->tgid, one = 1;
	if (scope_of(parent).cgroup != scope.cgroup || bpf_map_lookup_elem(&setting_up, &maker))
		bpf_map_update_elem(&setting_up, &pid, &one, BPF_ANY);
	if (!(scope.kinds & 1 << TRACE_FORK))
		return 0;
	struct trace_head *head = bpf_ringbuf_reserve(&ring, sizeof(*head), 0);
	if (!head) {
		count_loss(scope.cgroup, TRACE_FORK);
		return 0;
	}
	fill_head(head, child, TRACE_FORK, scope.cgroup);
	submit(head);
	return 0;
}

/* Fills and submits a record of one of the two sizes; 0 when the path does not fit. */
INLINE int exec_record(struct task_struct *task, struct linux_binprm *program, uint64_t cgroup,
		       uint32_t path_room, uint32_t args_room, int last)
{
	struct trace_exec *exec = bpf_ringbuf_reserve(&ring, sizeof(*exec) + path_room + args_room, 0);
	if (!exec) {
		count_loss(cgroup, TRACE_EXEC);
		return 1;
	}
	char *text = (char *)(exec + 1);
	long path = bpf_probe_read_kernel_str(text, path_room, program->filename);
	if (path == path_room && !last) {
		bpf_ringbuf_discard(exec, BPF_RB_NO_WAKEUP);
		return 0;
	}
	fill_head(&exec->head, task, TRACE_EXEC, cgroup);
	if (path < 0 || path >= path_room)
		exec->head.flags |= TRACE_TRUNCATED;
	/* The bounds are for the verifier. */
	if (path < 0 || path > path_room)
		path = 0;
	exec->path_bytes = path;

	unsigned long start = task->mm->arg_start, end = task->mm->arg_end;
	uint64_t bytes = end - start;
	if (bytes > args_room) {
		bytes = args_room;
		exec->head.flags |= TRACE_TRUNCATED;
	}
	if (bpf_probe_read_user(text + path, bytes, (void *)start)) {
		bytes = 0;
		exec->head.flags |= TRACE_TRUNCATED;
	}
	exec->args_bytes = bytes;
	submit(exec);
	return 1;
}

SEC("tp_btf/sched_process_exec")
int process_executed(uint64_t *context)
{
	struct task_struct *task = (void *)context[0];
	struct linux_binprm *program = (void *)context[2];
	struct scope scope = scope_of(task);
	if (!scope.kinds)
		return 0;
	uint32_t pid = task->tgid;
	bpf_map_delete_elem(&setting_up, &pid);
	if (!(scope.kinds & 1 << TRACE_EXEC))
		return 0;
	uint64_t args = task->mm->arg_end - task->mm->arg_start;
	if (args <= SMALL_ARGS && exec_record(task, program, scope.cgroup, SMALL_PATH, SMALL_ARGS, 0))
		return 0;
	exec_record(task, program, scope.cgroup, LARGE_PATH, LARGE_ARGS, 1);
	return 0;
}

/* Whether no thread of the process is left, told once. */
INLINE int is_last(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	if (signal->live.counter != 0)
		return 0;
	if (signal->nr_threads <= 1)
		return 1;
	uint64_t process = task->group_leader->start_time;
	process ^= (uint64_t)task->tgid << 40;
	uint32_t one = 1;
	return bpf_map_update_elem(&ended, &process, &one, BPF_NOEXIST) == 0;
}

SEC("tp_btf/sched_process_exit")
int process_ended(uint64_t *context)
{
	struct task_struct *task = (void *)context[0];
	struct scope scope = scope_of(task);
	if (!scope.kinds || !is_last(task))
		return 0;
	uint32_t pid = task->tgid;
	bpf_map_delete_elem(&setting_up, &pid);
	struct signal_struct *signal = task->signal;
	/* Set by the OOM killer (mark_oom_victim) on whom it chose, in whichever version of cgroups. */
	struct mm_struct *victim = signal->oom_mm;
	if (victim && scope.kinds & 1 << TRACE_OOM) {
		struct trace_oom *oom = bpf_ringbuf_reserve(&ring, sizeof(*oom), 0);
		if (oom) {
			fill_head(&oom->head, task, TRACE_OOM, scope.cgroup);
			oom->total_vm_pages = victim->total_vm;
			submit(oom);
		} else {
			count_loss(scope.cgroup, TRACE_OOM);
		}
	}
	if (!(scope.kinds & 1 << TRACE_EXIT))
		return 0;
	struct trace_exit *exit = bpf_ringbuf_reserve(&ring, sizeof(*exit), 0);
	if (!exit) {
		count_loss(scope.cgroup, TRACE_EXIT);
		return 0;
	}
	fill_head(&exit->head, task, TRACE_EXIT, scope.cgroup);
	/* What wait(2) tells of the process: of the group when it ended as one, else of its leader. */
	exit->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	exit->oom = victim != 0;
	submit(exit);
	return 0;
}

#endif
