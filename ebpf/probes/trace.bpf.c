/*
 * The probes of dhow: one object, because the programs share their maps. The loader loads each program by
 * itself and goes on without one that the kernel refuses; what would make it refuse the whole object (fentry,
 * kfuncs, struct_ops, …) belongs in an object of its own.
 *
 *   scope.h ◄── process.h ◄── open.h        events.h: the records        kernel.h: types and helpers
 */
#include "open.h"

char licence_name[] SEC("license") = "GPL";
