/*
 * Which cgroups are traced, and the ring that records go to.
 *
 *   wanted ── name → kinds ──┐  (filled by the loader)
 *                            ▼
 *   cgroup_mkdir ──────► traced: cgroup id → kinds      looked up by every probe
 *                        scopes: cgroup id → name, losses   read by the loader
 *
 * A container's cgroup is made anew at every start. A directory whose name is wanted is traced from the moment
 * that it exists, before a process can be in it: no start can be missed.
 */
#ifndef DHOW_SCOPE_H
#define DHOW_SCOPE_H

#include "events.h"
#include "kernel.h"

/* Wake the reader when that much is pending; the loader lowers it for small rings. */
const volatile uint32_t wake_bytes = 64 * 1024;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} ring SEC(".maps");

/* Kinds (a bit each) that are recorded of a traced cgroup. Small, because every probe asks it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, uint64_t);
	__type(value, uint32_t);
} traced SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, uint64_t);
	__type(value, struct trace_scope);
} scopes SEC(".maps");

struct name {
	char text[TRACE_NAME_BYTES];
};

/* Kinds by the name of a cgroup that exists or will. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct name);
	__type(value, uint32_t);
} wanted SEC(".maps");

/* Kinds of every cgroup whose name is as long as a container's id: `all containers`. The loader sorts out whose
 * they are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint32_t);
} everyone SEC(".maps");

/* Whether any traced cgroup lies at this depth: spares the lookups at all others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TRACE_DEPTHS);
	__type(key, uint32_t);
	__type(value, uint32_t);
} depths SEC(".maps");

/* Cgroups that could not be traced because a map was full. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint64_t);
} overflow SEC(".maps");

/* The traced cgroup that a cgroup is or is in. */
struct scope {
	uint64_t cgroup;
	uint32_t kinds;
};

/* The innermost traced one; kinds 0 when there is none. */
INLINE struct scope scope_of_cgroup(struct cgroup *cgroup)
{
	struct scope found = {};
	int level = 0;
	READ(level, cgroup->level);
	for (int up = 0; up < TRACE_DEPTHS; up++) {
		uint32_t depth = level - up;
		if (depth >= TRACE_DEPTHS)
			break;
		uint32_t *used = bpf_map_lookup_elem(&depths, &depth);
		if (!used || !*used)
			continue;
		struct cgroup *at = 0;
		struct kernfs_node *node = 0;
		uint64_t id = 0;
		READ(at, cgroup->ancestors[depth]);
		READ(node, at->kn);
		READ(id, node->id);
		uint32_t *kinds = bpf_map_lookup_elem(&traced, &id);
		if (kinds) {
			found.cgroup = id;
			found.kinds = *kinds;
			break;
		}
	}
	return found;
}

/* By the event's own task: the current one may be another (a parent that reaps, a killer). */
INLINE struct scope scope_of(struct task_struct *task)
{
	return scope_of_cgroup(task->cgroups->dfl_cgrp);
}

INLINE void count_loss(uint64_t cgroup, uint32_t kind)
{
	struct trace_scope *scope = bpf_map_lookup_elem(&scopes, &cgroup);
	if (scope && kind < TRACE_KINDS)
		__sync_fetch_and_add(&scope->lost[kind], 1);
}

/* Waking the reader for each record would cost more than the record. */
INLINE void submit(void *record)
{
	uint64_t pending = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	bpf_ringbuf_submit(record, pending >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* The number of a process in the namespace at `level`, and that namespace. */
INLINE uint32_t number_at(struct pid *pid, unsigned int level, struct pid_namespace **ns)
{
	struct upid number = {};
	READ(number, pid->numbers[level]);
	*ns = number.ns;
	return number.nr;
}

/* What every record begins with, about `task`. */
INLINE void fill_head(struct trace_head *head, struct task_struct *task, uint32_t kind, uint64_t cgroup)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = task->real_parent;
	struct pid *own = leader->thread_pid;
	struct pid *above = parent->group_leader->thread_pid;
	struct pid_namespace *ns = 0, *thread_ns = 0, *parent_ns = 0;
	unsigned int level = 0, parent_level = 0;

	head->boot_ns = bpf_ktime_get_boot_ns();
	head->cgroup = cgroup;
	head->kind = kind;
	head->flags = 0;
	head->host_pid = task->tgid;
	head->host_tid = task->pid;
	head->host_ppid = parent->tgid;
	READ(level, own->level);
	head->pid = number_at(own, level, &ns);
	head->tid = number_at(task->thread_pid, level, &thread_ns);
	head->ppid = 0;
	READ(parent_level, above->level);
	if (parent_level >= level) {
		uint32_t ppid = number_at(above, level, &parent_ns);
		if (parent_ns == ns)
			head->ppid = ppid;
	}
	head->uid = task->cred->uid.val;
	head->gid = task->cred->gid.val;
	bpf_probe_read_kernel_str(head->comm, sizeof(head->comm), task->comm);
}

INLINE void trace_cgroup(struct cgroup *cgroup)
{
	struct trace_scope scope = {};
	struct name name = {};
	uint32_t zero = 0, kinds = 0;
	uint64_t id = 0;
	char text[TRACE_NAME_BYTES + 1] = {};

	uint32_t *all = bpf_map_lookup_elem(&everyone, &zero);
	/* Shorter or longer names are never a container's. */
	if (bpf_probe_read_kernel_str(text, sizeof(text), cgroup->kn->name) != sizeof(text))
		return;
	__builtin_memcpy(&name, text, sizeof(name));
	uint32_t *asked = bpf_map_lookup_elem(&wanted, &name);
	kinds = (asked ? *asked : 0) | (all ? *all : 0);
	uint32_t depth = cgroup->level;
	if (!kinds || depth >= TRACE_DEPTHS)
		return;
	id = cgroup->kn->id;
	__builtin_memcpy(scope.name, text, sizeof(scope.name));
	uint32_t one = 1;
	bpf_map_update_elem(&depths, &depth, &one, BPF_ANY);
	long refused = bpf_map_update_elem(&scopes, &id, &scope, BPF_NOEXIST);
	refused |= bpf_map_update_elem(&traced, &id, &kinds, BPF_ANY);
	if (refused) {
		uint64_t *missed = bpf_map_lookup_elem(&overflow, &zero);
		if (missed)
			__sync_fetch_and_add(missed, 1);
		return;
	}
	/* The loader may have changed its wish between the two: whoever comes last sees the other's. */
	asked = bpf_map_lookup_elem(&wanted, &name);
	uint32_t now = (asked ? *asked : 0) | (all ? *all : 0);
	if (now != kinds)
		bpf_map_update_elem(&traced, &id, &now, BPF_ANY);
}

/* Hierarchies of version 1 share the tracepoint; theirs are numbered from 1. */
INLINE int is_v2(struct cgroup *cgroup)
{
	return cgroup->root->hierarchy_id == 0;
}

SEC("tp_btf/cgroup_mkdir")
int cgroup_made(uint64_t *context)
{
	struct cgroup *cgroup = (void *)context[0];
	if (is_v2(cgroup))
		trace_cgroup(cgroup);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int cgroup_removed(uint64_t *context)
{
	struct cgroup *cgroup = (void *)context[0];
	if (!is_v2(cgroup))
		return 0;
	uint64_t id = cgroup->kn->id;
	struct trace_scope *scope = bpf_map_lookup_elem(&scopes, &id);
	if (!scope)
		return 0;
	bpf_map_delete_elem(&traced, &id);
	/* Without room for it the reader still finds `gone` when it looks through the scopes. */
	struct trace_head *head = bpf_ringbuf_reserve(&ring, sizeof(*head), 0);
	if (head) {
		__builtin_memset(head, 0, sizeof(*head));
		head->boot_ns = bpf_ktime_get_boot_ns();
		head->cgroup = id;
		head->kind = TRACE_LEFT;
	}
	scope->gone = 1;
	if (head)
		bpf_ringbuf_submit(head, BPF_RB_FORCE_WAKEUP);
	return 0;
}

#endif
