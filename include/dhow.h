/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * dhow: a container engine as a library. Made by `cargo xtask header` of ffi/src; not to be edited.
 *
 * No daemon: dhow_engine_open() is all there is. A container lives on when the program that started it ends; a small
 * process of its own, the helper `dhow monitor`, holds it.
 *
 * The rules, for all functions:
 *
 * - Every call that can fail returns a dhow_status and takes a `dhow_error **` last. That may be NULL; else it is set
 *   to NULL on success, and on failure to an error that the caller frees with dhow_error_free().
 * - Structures that may grow begin with `size_t struct_size`: clear the structure, set that to its sizeof.
 * - Text is UTF-8 and ends with a zero byte; paths are bytes. What goes in stays the caller's and is not kept. What
 *   comes out as `char **` is the caller's, to be freed with dhow_string_free().
 * - Structured data is JSON, with Docker's names.
 * - Any thread may call any function. A handle may be used by several threads at once where its functions say so. A
 *   handle is not to be used in a child that was forked without exec.
 * - No call leaves a thread (but for traces, see dhow_trace_open()) or a child behind, changes the handling of
 *   a signal, a signal mask, the environment or the working directory, registers an atexit function, or writes to the standard streams. Descriptors are close-on-exec.
 *   Interrupted system calls are taken up again, so handlers may be installed without SA_RESTART. The processes of
 *   containers are never children of the program: neither SIGCHLD nor waitpid(-1) tells of them. (If the program is
 *   pid 1 of a namespace, or a child subreaper (prctl(2)), the kernel hands it the helpers as it hands it every
 *   orphan; it must reap them as it does others, and may do so at any time.)
 * - What goes on over time is a descriptor to poll, and a call that never waits.
 */


#ifndef DHOW_H
#define DHOW_H

#include <stddef.h>
#include <stdint.h>


/**
 * `dhow_container_wait`: until it does not run; at once if it does not.
 */
#define DHOW_WAIT_NOT_RUNNING 0

/**
 * `dhow_container_wait`: until the next exit from now on.
 */
#define DHOW_WAIT_NEXT_EXIT 1

/**
 * `dhow_container_wait`: until it is removed.
 */
#define DHOW_WAIT_REMOVED 2

/**
 * `dhow_container_remove`: kill it if it runs.
 */
#define DHOW_REMOVE_FORCE 1

/**
 * `dhow_container_remove`: with its anonymous volumes.
 */
#define DHOW_REMOVE_VOLUMES 2

/**
 * `dhow_container_list`: stopped ones too.
 */
#define DHOW_LIST_ALL 1

/**
 * `dhow_image_remove`: also an image with several tags, or one that stopped containers use.
 */
#define DHOW_IMAGE_REMOVE_FORCE 1

/**
 * `dhow_logs_options.flags`: go on until the container stops.
 */
#define DHOW_LOGS_FOLLOW 1

/**
 * Standard input.
 */
#define DHOW_STREAM_STDIN 1

/**
 * Standard output; with a terminal, all output.
 */
#define DHOW_STREAM_STDOUT 2

/**
 * Standard error. With a terminal there is none.
 */
#define DHOW_STREAM_STDERR 4

/**
 * `dhow_run_options.flags`: do not remove the container at its end.
 */
#define DHOW_RUN_KEEP 1

/**
 * `dhow_trace_options.flags`: end when each of the containers has ended once.
 */
#define DHOW_TRACE_UNTIL_EXIT 1

/**
 * The version of this header. It grows by one with every addition; what programs rely on is only ever taken away
 * or changed together with the name of the library (`libdhow.so.0`).
 */
#define DHOW_ABI_VERSION 1

/**
 * What every call that can fail returns. `DHOW_OK` is success, `DHOW_AGAIN` and `DHOW_END` tell of a stream, and
 * everything else is an error. Numbers are never reused; a newer library may return numbers that this header
 * does not know: take them for `DHOW_ERROR_INTERNAL`.
 */
enum dhow_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It was done.
     */
    DHOW_OK = 0,
    /**
     * The request itself is wrong: a NULL where none may be, text that is not UTF-8, malformed JSON, a bad value.
     */
    DHOW_ERROR_INVALID_ARGUMENT = 1,
    /**
     * What was named does not exist.
     */
    DHOW_ERROR_NOT_FOUND = 2,
    /**
     * It exists, but its state or another object forbids the operation.
     */
    DHOW_ERROR_CONFLICT = 3,
    /**
     * It is in the wanted state already: a start of a running container.
     */
    DHOW_ERROR_NOT_MODIFIED = 4,
    /**
     * The caller, or this kernel, lacks the permission.
     */
    DHOW_ERROR_FORBIDDEN = 5,
    /**
     * Credentials are missing or wrong. No function of this version needs any.
     */
    DHOW_ERROR_UNAUTHORIZED = 6,
    /**
     * This build, kernel or machine does not offer what was asked for.
     */
    DHOW_ERROR_UNSUPPORTED = 7,
    /**
     * The command is not in the container's filesystem. A shell would say 127.
     */
    DHOW_ERROR_COMMAND_NOT_FOUND = 8,
    /**
     * The command is there but cannot be executed. A shell would say 126.
     */
    DHOW_ERROR_COMMAND_NOT_EXECUTABLE = 9,
    /**
     * The process could not be started for another reason.
     */
    DHOW_ERROR_START_FAILED = 10,
    /**
     * Data does not match its digest or its format.
     */
    DHOW_ERROR_CORRUPT = 11,
    /**
     * Something that is needed cannot be reached now.
     */
    DHOW_ERROR_UNAVAILABLE = 12,
    /**
     * A defect, or an unexpected refusal of the operating system.
     */
    DHOW_ERROR_INTERNAL = 13,
    /**
     * The time that the caller gave is over.
     */
    DHOW_ERROR_TIMEOUT = 14,
    /**
     * The caller's own callback ended it.
     */
    DHOW_ERROR_CANCELLED = 15,
    /**
     * The library met a defect of its own and broke the call off. The handles that were given to the call should
     * be closed; the rest of the library, and what is on disk, is whole.
     */
    DHOW_ERROR_PANIC = 16,
    /**
     * Not an error: nothing is there now. Poll the descriptor, then ask again.
     */
    DHOW_AGAIN = 1000,
    /**
     * Not an error: nothing will come any more.
     */
    DHOW_END = 1001,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dhow_status dhow_status;
#else
typedef int32_t dhow_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * An engine over one root directory. As many as one likes may be open, over the same root too, in this and in
 * other processes: the truth is on disk.
 */
typedef struct dhow_engine dhow_engine;

/**
 * An error: its status, one readable line, and what the operating system said if that is what failed.
 */
typedef struct dhow_error dhow_error;

/**
 * A stream of events. They are durable: nothing that happens between two calls, or between two streams of which the
 * second resumes where the first ended, is missed.
 */
typedef struct dhow_events dhow_events;

/**
 * An open log.
 */
typedef struct dhow_logs dhow_logs;

/**
 * A running trace.
 */
typedef struct dhow_trace dhow_trace;

/**
 * A process in a container, as `dhow_container_start` and `dhow_container_exec` fill it in. Every descriptor is
 * close-on-exec and the caller's to close, each by itself or all with `dhow_process_close`; -1 is one that is not
 * there.
 *
 * The streams are bare bytes. Who reads slower than the process writes is waited for: a megabyte is kept between,
 * then the process waits. Closing an output only means that its bytes are no longer wanted; the container's log has
 * them all the same.
 */
typedef struct dhow_process {
    /**
     * `sizeof(dhow_process)`, set by the caller.
     */
    size_t struct_size;
    /**
     * Its process id, as the caller's pid namespace has it.
     */
    int32_t pid;
    /**
     * A pidfd: poll it for input, which comes when the process has ended, then ask for the exit code with
     * `dhow_container_wait` or `dhow_exec_wait`. It is no child of the caller's, so waitid(2) does not know it;
     * pidfd_send_signal(2) does. It tells of this run only, not of one after a restart.
     */
    int32_t pidfd;
    /**
     * Standard input, to write to; blocking until fcntl(2) says otherwise. It is a socket: `send` with `MSG_NOSIGNAL`
     * raises no SIGPIPE when the process has gone. Closing it ends the input of a container made with `StdinOnce`,
     * and of any exec session; without `StdinOnce` others may still attach and give more.
     */
    int32_t stdin_fd;
    /**
     * Standard output, to read from: a pipe. Its end comes after the exit was recorded.
     */
    int32_t stdout_fd;
    /**
     * Standard error, the same.
     */
    int32_t stderr_fd;
} dhow_process;

/**
 * Where an engine keeps its things.
 */
typedef struct dhow_engine_options {
    /**
     * `sizeof(dhow_engine_options)`.
     */
    size_t struct_size;
    /**
     * What survives a reboot: images, containers, the database. NULL: `/var/lib/dhow`.
     */
    const char *root;
    /**
     * What does not: sockets and locks. NULL: `/run/dhow`.
     */
    const char *state;
    /**
     * The `dhow` executable that becomes the monitor of each container; it must be of this library's version.
     * NULL: the environment's `DHOW_HELPER` (not when the program runs with more rights than its user); else
     * beside libdhow: from its directory `../bin/dhow`, `../libexec/dhow/dhow`, the same two from one level higher,
     * `dhow`; else `dhow` in `PATH`.
     */
    const char *helper;
} dhow_engine_options;

/**
 * Which events.
 */
typedef struct dhow_events_options {
    /**
     * `sizeof(dhow_events_options)`.
     */
    size_t struct_size;
    /**
     * Also what was recorded from that time on: RFC 3339, or seconds since 1970 with a fraction. NULL: from now on.
     */
    const char *since;
    /**
     * Resume after the event with this "seq", which each event tells; 0: no. Not together with `since`.
     */
    int64_t cursor;
    /**
     * Docker's: `{"type":["container"],"event":["die"]}`. NULL: all.
     */
    const char *filters;
} dhow_events_options;

/**
 * What an imported image is called and says.
 */
typedef struct dhow_import_options {
    /**
     * `sizeof(dhow_import_options)`.
     */
    size_t struct_size;
    /**
     * Its tag, "name:tag". NULL: none.
     */
    const char *reference;
    /**
     * Dockerfile instructions, one each, that set its configuration: "CMD [\"sh\"]", "ENV A=1".
     */
    const char *const *changes;
    /**
     * How many `changes` there are.
     */
    size_t changes_count;
    /**
     * The comment of its history entry. NULL: a usual one.
     */
    const char *message;
    /**
     * "os[/architecture[/variant]]". NULL: this machine's.
     */
    const char *platform;
} dhow_import_options;

/**
 * Which entries of a log.
 */
typedef struct dhow_logs_options {
    /**
     * `sizeof(dhow_logs_options)`.
     */
    size_t struct_size;
    /**
     * `DHOW_LOGS_FOLLOW`, or 0.
     */
    uint32_t flags;
    /**
     * `DHOW_STREAM_STDOUT`, `DHOW_STREAM_STDERR` or both; 0 means both.
     */
    uint32_t streams;
    /**
     * Only the last so many; 0 means all.
     */
    uint64_t tail;
    /**
     * Only those of that time or later: RFC 3339, or seconds since 1970 with a fraction. NULL: no bound.
     */
    const char *since;
    /**
     * Only those of that time or earlier. NULL: no bound.
     */
    const char *until;
} dhow_logs_options;

/**
 * One entry: a line with its newline, or a piece of one that is longer than 16 KiB.
 */
typedef struct dhow_log_entry {
    /**
     * `sizeof(dhow_log_entry)`, set by the caller.
     */
    size_t struct_size;
    /**
     * When it was read from the container, in nanoseconds since 1970.
     */
    int64_t time_ns;
    /**
     * Its bytes. They belong to the log, and stay until the next call on it.
     */
    const uint8_t *data;
    /**
     * How many bytes.
     */
    size_t length;
    /**
     * `DHOW_STREAM_STDOUT` or `DHOW_STREAM_STDERR`.
     */
    uint32_t stream;
} dhow_log_entry;

/**
 * Takes output as it comes: `length` bytes of `stream`, `DHOW_STREAM_STDOUT` or `DHOW_STREAM_STDERR`, that stay valid
 * until it returns. Returns 0 to go on; anything else ends the container. It is called on the thread that called
 * `dhow_run`, and must return: no longjmp, no C++ exception.
 */
typedef int32_t (*dhow_output_function)(void *user_data, uint32_t stream, const void *data, size_t length);

/**
 * How to run.
 */
typedef struct dhow_run_options {
    /**
     * `sizeof(dhow_run_options)`.
     */
    size_t struct_size;
    /**
     * The container's name. NULL: one is drawn.
     */
    const char *name;
    /**
     * `DHOW_RUN_KEEP`, or 0.
     */
    uint32_t flags;
    /**
     * After so many milliseconds it is killed; 0: never.
     */
    uint32_t timeout_ms;
    /**
     * Its whole standard input. NULL: it has none.
     */
    const void *stdin_data;
    /**
     * How many bytes.
     */
    size_t stdin_length;
    /**
     * Takes the output. NULL: it is gathered in the result, in memory.
     */
    dhow_output_function on_output;
    /**
     * Handed to `on_output`.
     */
    void *user_data;
} dhow_run_options;

/**
 * What became of it. What it points to is freed with `dhow_run_result_clear`.
 */
typedef struct dhow_run_result {
    /**
     * `sizeof(dhow_run_result)`, set by the caller.
     */
    size_t struct_size;
    /**
     * The container's id.
     */
    char *id;
    /**
     * Standard output, with a zero byte after it; NULL with `on_output`.
     */
    uint8_t *stdout_data;
    /**
     * How many bytes, without the zero byte.
     */
    size_t stdout_length;
    /**
     * Standard error, the same.
     */
    uint8_t *stderr_data;
    /**
     * How many bytes.
     */
    size_t stderr_length;
    /**
     * The exit code; 128 + n means signal n.
     */
    int32_t exit_code;
} dhow_run_result;

/**
 * What to trace.
 */
typedef struct dhow_trace_options {
    /**
     * `sizeof(dhow_trace_options)`.
     */
    size_t struct_size;
    /**
     * Containers. NULL: all of the engine, those to come included.
     */
    const char *const *containers;
    /**
     * How many.
     */
    size_t containers_count;
    /**
     * Kinds of events: "fork,exec,exit,oom,open". NULL: all but "open", which slows every system call of the machine
     * while it is wanted.
     */
    const char *kinds;
    /**
     * `DHOW_TRACE_UNTIL_EXIT`, or 0.
     */
    uint32_t flags;
} dhow_trace_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Frees a text that a function of this library handed out. NULL is fine.
 *
 * Ownership: takes `text`. Threads: any. Errors: none. Since: ABI 1.
 */
void dhow_string_free(char *text);

/**
 * Makes a container. `config` is the body of Docker's `POST /containers/create`:
 * `{"Image":"debian:12","Cmd":["sh"],"HostConfig":{"NetworkMode":"none"}}`. What dhow does not do is refused by name,
 * never ignored.
 *
 * Ownership: `name` may be NULL: then one is drawn. `*json` is the caller's, to be freed with `dhow_string_free`:
 * `{"Id":"…","Warnings":[]}`. Threads: any. Errors: `INVALID_ARGUMENT` for the body, `UNSUPPORTED` for what dhow does
 * not do, `NOT_FOUND` for the image, `CONFLICT` for the name. Since: ABI 1.
 */
dhow_status dhow_container_create(const struct dhow_engine *engine,
                                  const char *name,
                                  const char *config,
                                  char **json,
                                  struct dhow_error **error);

/**
 * Starts a container. Returns when its program runs, or could not be started.
 *
 * `container`, here and below, is an id, the unambiguous beginning of one, or a name. `streams` are those to hold, of
 * `DHOW_STREAM_*`; standard input needs `OpenStdin` in the body that made the container.
 *
 * Ownership: fills in `process`, whose descriptors are then the caller's; `process` may be NULL if `streams` is 0.
 * Threads: any; blocks for some milliseconds. No thread stays behind, and no child. Errors: `NOT_FOUND`,
 * `NOT_MODIFIED` when it runs already, `CONFLICT` when it is paused or being removed, `COMMAND_NOT_FOUND`,
 * `COMMAND_NOT_EXECUTABLE`, `START_FAILED`. Since: ABI 1.
 */
dhow_status dhow_container_start(const struct dhow_engine *engine,
                                 const char *container,
                                 uint32_t streams,
                                 struct dhow_process *process,
                                 struct dhow_error **error);

/**
 * Waits until a container stops (`condition` of `DHOW_WAIT_*`), for `timeout_ms` milliseconds at most; negative means
 * for ever. One that has removed itself meanwhile is known by its full id, as long as its end is among the newest
 * hundred thousand events.
 *
 * Ownership: `exit_code` may be NULL; 128 + n means signal n. Threads: any; blocks. A thread that must not block polls
 * the pidfd first. Errors: `NOT_FOUND`, `TIMEOUT`. Since: ABI 1.
 */
dhow_status dhow_container_wait(const struct dhow_engine *engine,
                                const char *container,
                                uint32_t condition,
                                int64_t timeout_ms,
                                int32_t *exit_code,
                                struct dhow_error **error);

/**
 * Sends signal number `signal`, as in <signal.h>, to a container's first process. A container that is ended by its
 * stop signal or by SIGKILL is not restarted by its policy.
 *
 * Threads: any. Errors: `NOT_FOUND`, `INVALID_ARGUMENT` for a signal that is none, `CONFLICT` when it does not run.
 * Since: ABI 1.
 */
dhow_status dhow_container_signal(const struct dhow_engine *engine,
                                  const char *container,
                                  int32_t signal,
                                  struct dhow_error **error);

/**
 * Stops a container: its stop signal, and SIGKILL after `timeout_s` seconds; negative means as the container says,
 * or ten.
 *
 * Threads: any; blocks. Errors: `NOT_FOUND`, `NOT_MODIFIED` when it does not run, `UNAVAILABLE` when it does not end.
 * Since: ABI 1.
 */
dhow_status dhow_container_stop(const struct dhow_engine *engine,
                                const char *container,
                                int32_t timeout_s,
                                struct dhow_error **error);

/**
 * Sets the size of a container's terminal.
 *
 * Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it does not run. Since: ABI 1.
 */
dhow_status dhow_container_resize(const struct dhow_engine *engine,
                                  const char *container,
                                  uint16_t rows,
                                  uint16_t columns,
                                  struct dhow_error **error);

/**
 * Everything about a container: the body of Docker's `GET /containers/ID/json`.
 *
 * Ownership: `*json` is the caller's, to be freed with `dhow_string_free`. Threads: any. Errors: `NOT_FOUND`,
 * `INVALID_ARGUMENT` when the beginning of an id is that of several. Since: ABI 1.
 */
dhow_status dhow_container_inspect(const struct dhow_engine *engine,
                                   const char *container,
                                   char **json,
                                   struct dhow_error **error);

/**
 * Lists containers: the body of Docker's `GET /containers/json`. `flags`: `DHOW_LIST_ALL`.
 *
 * Ownership: `filters`, Docker's (`{"status":["exited"]}`), may be NULL. `*json` is the caller's, to be freed with
 * `dhow_string_free`. Threads: any. Errors: `INVALID_ARGUMENT` for a filter that is none. Since: ABI 1.
 */
dhow_status dhow_container_list(const struct dhow_engine *engine,
                                uint32_t flags,
                                const char *filters,
                                char **json,
                                struct dhow_error **error);

/**
 * Removes a container: its writable layer, its log, its record. `flags`: `DHOW_REMOVE_*`.
 *
 * Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it runs and `DHOW_REMOVE_FORCE` is not set. Since: ABI 1.
 */
dhow_status dhow_container_remove(const struct dhow_engine *engine,
                                  const char *container,
                                  uint32_t flags,
                                  struct dhow_error **error);

/**
 * Opens an engine. Makes its directories when they are missing, and settles what a crash left behind. No other
 * process needs to run.
 *
 * Ownership: `*engine` is the caller's, to be closed with `dhow_engine_close`; NULL on failure. `options` may be
 * NULL. Threads: any. Errors: `NOT_FOUND` when there is no helper, `UNSUPPORTED` when it is of another version or
 * a newer dhow wrote the root, `FORBIDDEN` without the permission, `CORRUPT` for a damaged database. Since: ABI 1.
 */
dhow_status dhow_engine_open(const struct dhow_engine_options *options,
                             struct dhow_engine **engine,
                             struct dhow_error **error);

/**
 * Closes an engine. NULL is fine. Containers live on; streams of events and logs that were opened through it stay
 * open.
 *
 * Ownership: takes `engine`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
 */
void dhow_engine_close(struct dhow_engine *engine);

/**
 * The number of a status, from 0 for `error` NULL.
 *
 * Ownership: `error` stays the caller's. Threads: any. Errors: none. Since: ABI 1.
 */
dhow_status dhow_error_status(const struct dhow_error *error);

/**
 * What went wrong, on one line, in UTF-8: the operation, the object and the cause. "" for `error` NULL.
 *
 * Ownership: the text belongs to `error` and goes with it. Threads: any. Errors: none. Since: ABI 1.
 */
const char *dhow_error_message(const struct dhow_error *error);

/**
 * The errno behind the error, as in <errno.h>; 0 when it was not the operating system that failed.
 *
 * Ownership: `error` stays the caller's. Threads: any. Errors: none. Since: ABI 1.
 */
int32_t dhow_error_errno(const struct dhow_error *error);

/**
 * Frees an error. NULL is fine.
 *
 * Ownership: takes `error`. Threads: any. Errors: none. Since: ABI 1.
 */
void dhow_error_free(struct dhow_error *error);

/**
 * The name of a status as this header has it, `DHOW_ERROR_NOT_FOUND`; NULL for a number that it does not know.
 *
 * Ownership: the text is constant. Threads: any. Errors: none. Since: ABI 1.
 */
const char *dhow_status_name(int32_t status);

/**
 * Begins to follow events. What happens after this returns will be told.
 *
 * Ownership: `options` may be NULL. `*events` is the caller's, to be closed with `dhow_events_close`; NULL on failure.
 * Each stream takes one of the user's inotify instances. Threads: any. Errors: `INVALID_ARGUMENT` for a filter or a
 * time. Since: ABI 1.
 */
dhow_status dhow_events_open(const struct dhow_engine *engine,
                             const struct dhow_events_options *options,
                             struct dhow_events **events,
                             struct dhow_error **error);

/**
 * A descriptor to poll for input when `dhow_events_next` has said `DHOW_AGAIN`.
 *
 * Ownership: it belongs to `events`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
 */
int32_t dhow_events_fd(const struct dhow_events *events);

/**
 * The next event: one line of Docker's `GET /events`, with its "seq". Never waits: `DHOW_AGAIN` when there is none
 * now. Ask until it says so, then poll: the descriptor tells that something came, not how much.
 *
 * Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; NULL unless `DHOW_OK`. Threads: any, taking
 * turns. Errors: `NOT_FOUND` once when events after the cursor are no longer kept; the next call goes on with the
 * oldest that are. Since: ABI 1.
 */
dhow_status dhow_events_next(struct dhow_events *events, char **json, struct dhow_error **error);

/**
 * Closes a stream of events. NULL is fine. Takes some milliseconds: the kernel's, for a watch.
 *
 * Ownership: takes `events`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
 */
void dhow_events_close(struct dhow_events *events);

/**
 * Runs another process in a running container. `config` is the body of Docker's `POST /containers/ID/exec`:
 * `{"Cmd":["ls","-l"],"User":"1000","Tty":false}`. Returns when its program runs, or could not be started.
 *
 * `streams` are those to hold, of `DHOW_STREAM_*`; each of them is attached whatever the body says.
 *
 * Ownership: fills in `process`, whose descriptors are then the caller's. `*exec_id` is the caller's, to be freed with
 * `dhow_string_free`; `exec_id` may be NULL. Threads: any; blocks for some milliseconds. Errors: `NOT_FOUND`,
 * `CONFLICT` when the container does not run or is paused, `INVALID_ARGUMENT` for the body, `COMMAND_NOT_FOUND`,
 * `COMMAND_NOT_EXECUTABLE`, `START_FAILED`. Since: ABI 1.
 */
dhow_status dhow_container_exec(const struct dhow_engine *engine,
                                const char *container,
                                const char *config,
                                uint32_t streams,
                                struct dhow_process *process,
                                char **exec_id,
                                struct dhow_error **error);

/**
 * Waits for an exec session's end, for `timeout_ms` milliseconds at most; negative means for ever.
 *
 * Ownership: `exit_code` may be NULL. Threads: any; blocks. A thread that must not block polls the pidfd first.
 * Errors: `NOT_FOUND`, also when its container is removed meanwhile; `TIMEOUT`; `UNAVAILABLE` when its monitor was
 * killed. Since: ABI 1.
 */
dhow_status dhow_exec_wait(const struct dhow_engine *engine,
                           const char *exec_id,
                           int64_t timeout_ms,
                           int32_t *exit_code,
                           struct dhow_error **error);

/**
 * Sets the size of an exec session's terminal.
 *
 * Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it does not run. Since: ABI 1.
 */
dhow_status dhow_exec_resize(const struct dhow_engine *engine,
                             const char *exec_id,
                             uint16_t rows,
                             uint16_t columns,
                             struct dhow_error **error);

/**
 * What is known of an exec session: the body of Docker's `GET /exec/ID/json`.
 *
 * Ownership: `*json` is the caller's, to be freed with `dhow_string_free`. Threads: any. Errors: `NOT_FOUND`.
 * Since: ABI 1.
 */
dhow_status dhow_exec_inspect(const struct dhow_engine *engine,
                              const char *exec_id,
                              char **json,
                              struct dhow_error **error);

/**
 * Loads every image of an archive (docker-archive or OCI, plain, gzip or zstd), read from where `fd` stands to its
 * end: a file, a pipe or a socket.
 *
 * Ownership: `fd` stays the caller's. `*json` is the caller's, to be freed with `dhow_string_free`:
 * `[{"Id":"sha256:…","RepoTags":["name:tag"]}]`. `json` may be NULL. Threads: any; blocks. Errors: `CORRUPT` when a
 * blob does not match its digest or the archive ends too early, `INVALID_ARGUMENT` when it is no image archive,
 * `UNAVAILABLE` when the disk is full. Nothing is tagged then. Since: ABI 1.
 */
dhow_status dhow_image_load_fd(const struct dhow_engine *engine, int32_t fd, char **json, struct dhow_error **error);

/**
 * The same with a path.
 *
 * Ownership, threads: as `dhow_image_load_fd`. Errors: also `NOT_FOUND` when there is no such file, `FORBIDDEN` when
 * it may not be read. Since: ABI 1.
 */
dhow_status dhow_image_load_path(const struct dhow_engine *engine,
                                 const char *path,
                                 char **json,
                                 struct dhow_error **error);

/**
 * Makes an image of one layer of the tar (plain, gzip or zstd) that is read from `fd`: a root filesystem.
 *
 * Ownership: `fd` stays the caller's; `options` may be NULL. `*id` is the caller's, to be freed with
 * `dhow_string_free`: "sha256:…". `id` may be NULL. Threads: any; blocks. Errors: `INVALID_ARGUMENT` for a reference
 * or a change that is none, `CORRUPT` for a bad tar, `UNAVAILABLE` when the disk is full. Since: ABI 1.
 */
dhow_status dhow_image_import_fd(const struct dhow_engine *engine,
                                 int32_t fd,
                                 const struct dhow_import_options *options,
                                 char **id,
                                 struct dhow_error **error);

/**
 * Lists images: the body of Docker's `GET /images/json`.
 *
 * Ownership: `filters`, Docker's (`{"label":["a=b"]}`), may be NULL. `*json` is the caller's, to be freed with
 * `dhow_string_free`. Threads: any. Errors: `INVALID_ARGUMENT` for a filter that is none. Since: ABI 1.
 */
dhow_status dhow_image_list(const struct dhow_engine *engine,
                            const char *filters,
                            char **json,
                            struct dhow_error **error);

/**
 * Removes a tag, and the image with its last one; or an image by its id. The body of `DELETE /images/NAME`.
 *
 * Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; `json` may be NULL. `flags`:
 * `DHOW_IMAGE_REMOVE_FORCE`. Threads: any. Errors: `NOT_FOUND`; `CONFLICT` when a container uses it. Since: ABI 1.
 */
dhow_status dhow_image_remove(const struct dhow_engine *engine,
                              const char *name,
                              uint32_t flags,
                              char **json,
                              struct dhow_error **error);

/**
 * Opens a container's log.
 *
 * Ownership: `options` may be NULL: then all that is there. `*logs` is the caller's, to be closed with
 * `dhow_logs_close`; NULL on failure. Threads: any. Errors: `NOT_FOUND`; `UNSUPPORTED` when the container's log driver
 * keeps nothing; `INVALID_ARGUMENT` for a time. Since: ABI 1.
 */
dhow_status dhow_container_logs(const struct dhow_engine *engine,
                                const char *container,
                                const struct dhow_logs_options *options,
                                struct dhow_logs **logs,
                                struct dhow_error **error);

/**
 * A descriptor to poll for input when `dhow_logs_next` has said `DHOW_AGAIN`; -1 for a log that is not followed.
 *
 * Ownership: it belongs to `logs`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
 */
int32_t dhow_logs_fd(const struct dhow_logs *logs);

/**
 * The next entry. Never waits: `DHOW_AGAIN` when there is none yet (only when following), `DHOW_END` when none will
 * come.
 *
 * Ownership: fills in `entry`; its bytes stay the log's, until the next call on it. Threads: one at a time. Errors:
 * `UNAVAILABLE`, `INTERNAL` when it cannot be read. Since: ABI 1.
 */
dhow_status dhow_logs_next(struct dhow_logs *logs, struct dhow_log_entry *entry, struct dhow_error **error);

/**
 * Closes a log. NULL is fine.
 *
 * Ownership: takes `logs`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
 */
void dhow_logs_close(struct dhow_logs *logs);

/**
 * Closes every descriptor of a process that is not -1, and makes them -1. NULL is fine. The process lives on.
 *
 * Ownership: takes the descriptors, not the structure. A caller that has closed one by itself sets it to -1 before.
 * Threads: any. Errors: none. Since: ABI 1.
 */
void dhow_process_close(struct dhow_process *process);

/**
 * Creates, starts, feeds, reads and waits for a container, and removes it unless it is to be kept. `config` is as for
 * `dhow_container_create`; what it says of `AutoRemove` comes before `flags`. An exit code other than 0 is no error.
 *
 * Ownership: `options` may be NULL. Fills in `result`, also after `TIMEOUT` and `CANCELLED`; to be cleared with
 * `dhow_run_result_clear`. Threads: any; blocks. Errors: those of create and start; `TIMEOUT`; `CANCELLED` when
 * `on_output` ended it. Nothing is left behind then, unless it was to be kept. Since: ABI 1.
 */
dhow_status dhow_run(const struct dhow_engine *engine,
                     const char *config,
                     const struct dhow_run_options *options,
                     struct dhow_run_result *result,
                     struct dhow_error **error);

/**
 * Frees what a result points to. NULL is fine.
 *
 * Ownership: takes what is inside, not the structure. Threads: any. Errors: none. Since: ABI 1.
 */
void dhow_run_result_clear(struct dhow_run_result *result);

/**
 * Begins to trace. When this returns, the probes are attached: what starts now is told from its beginning.
 *
 * While traces of an engine are open, one thread of the library, with all signals blocked, reads what the kernel gives
 * for all of them; it ends with the last.
 *
 * Ownership: `options` may be NULL. `*trace` is the caller's, to be closed with `dhow_trace_close`; NULL on failure.
 * Threads: any. Errors: `NOT_FOUND`; `INVALID_ARGUMENT` for a kind; `FORBIDDEN` without CAP_BPF and CAP_PERFMON;
 * `UNSUPPORTED` when this kernel lacks something, naming it. Since: ABI 1.
 */
dhow_status dhow_trace_open(const struct dhow_engine *engine,
                            const struct dhow_trace_options *options,
                            struct dhow_trace **trace,
                            struct dhow_error **error);

/**
 * A descriptor to poll for input when `dhow_trace_next` has said `DHOW_AGAIN`.
 *
 * Ownership: it belongs to `trace`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
 */
int32_t dhow_trace_fd(const struct dhow_trace *trace);

/**
 * The next event, as `dhow trace --format json` prints it. Never waits: `DHOW_AGAIN` when there is none now, `DHOW_END`
 * when the trace has ended by itself. What was lost is told, as an event of its own, and counted.
 *
 * Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; NULL unless `DHOW_OK`. Threads: any, taking
 * turns. Errors: `INTERNAL` when the trace broke off. Since: ABI 1.
 */
dhow_status dhow_trace_next(struct dhow_trace *trace, char **json, struct dhow_error **error);

/**
 * Ends a trace. NULL is fine.
 *
 * Ownership: takes `trace`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
 */
void dhow_trace_close(struct dhow_trace *trace);

/**
 * The version of the library that is linked, as text: "0.1.0".
 *
 * Ownership: the text is constant. Threads: any. Errors: none. Since: ABI 1.
 */
const char *dhow_version(void);

/**
 * The `DHOW_ABI_VERSION` of the library that is linked. A program that was compiled with a higher one uses
 * functions, or options, that this library may not have.
 *
 * Threads: any. Errors: none. Since: ABI 1.
 */
uint32_t dhow_abi_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DHOW_H */
