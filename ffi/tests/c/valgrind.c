/*
 * Linked into the program that runs under valgrind, before libc, and never otherwise.
 *
 * Valgrind runs one process's memory on its own model of the kernel, and that knows clone(2) only as fork and as a
 * thread; it ends the program at anything else. libdhow starts its helper with the two clones that engine/crates/sys
 * draws in spawn.rs. Here the first of them, which shares memory and descriptors, becomes a plain call, and the second,
 * which executes the helper, a fork. All else of the library, which is what valgrind is asked about, is as ever.
 *
 * What is too new for Debian 12's valgrind: close_range(2) becomes fcntl(2); openat2(2) becomes openat(2), which the test's
 * own tame archives survive; open_tree(2) is not there, which libdhow can do without; pidfd_open(2) and pidfd_send_signal(2) are
 * made by an agent, this file again as a program (-DAGENT) outside valgrind, which passes the descriptors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is asked of the agent, and its answer: 0 or an errno. A descriptor may come along, either way. */
struct message {
    int what, number, errnum;
};

static int say(int socket, struct message message, int fd)
{
    struct iovec bytes = {&message, sizeof message};
    char control[CMSG_SPACE(sizeof fd)];
    struct msghdr header;
    memset(&header, 0, sizeof header);
    memset(control, 0, sizeof control);
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(socket, &header, MSG_NOSIGNAL) == (ssize_t)sizeof message ? 0 : -1;
}

static int hear(int socket, struct message *message, int *fd)
{
    struct iovec bytes = {message, sizeof *message};
    char control[CMSG_SPACE(sizeof *fd)];
    struct msghdr header;
    memset(&header, 0, sizeof header);
    memset(control, 0, sizeof control);
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t count;
    do
        count = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    while (count < 0 && errno == EINTR);
    *fd = -1;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    if (rights != NULL)
        memcpy(fd, CMSG_DATA(rights), sizeof *fd);
    return count == (ssize_t)sizeof *message ? 0 : -1;
}

#ifdef AGENT

int main(int argc, char **argv)
{
    int socket = argc == 2 ? atoi(argv[1]) : -1, fd;
    struct message message;
    while (hear(socket, &message, &fd) == 0) {
        int answer = -1;
        errno = 0;
        if (message.what == SYS_pidfd_open)
            answer = (int)syscall(SYS_pidfd_open, message.number, 0);
        else
            syscall(SYS_pidfd_send_signal, fd, message.number, NULL, 0);
        message.errnum = errno;
        say(socket, message, answer);
        close(fd);
        close(answer);
    }
    return 0;
}

#else

static int agent = -1;

__attribute__((constructor)) static void start_agent(void)
{
    const char *program = getenv("DHOW_TEST_AGENT");
    int ends[2];
    if (program == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    if (fork() == 0) {
        char number[16] = {(char)('0' + ends[1] / 100), (char)('0' + ends[1] / 10 % 10), (char)('0' + ends[1] % 10), 0};
        fcntl(ends[1], F_SETFD, 0);
        execl(program, program, number, (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    agent = ends[0];
}

/* One at a time: the program that is run so has one thread. */
static long ask(long what, long number, int fd)
{
    struct message message = {(int)what, (int)number, 0};
    int answer = -1;
    if (say(agent, message, fd) != 0 || hear(agent, &message, &answer) != 0)
        abort();
    errno = message.errnum;
    if (message.errnum != 0)
        return -1;
    return what == SYS_pidfd_open ? answer : 0;
}

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

long syscall(long number, ...)
{
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_close_range) {
        for (int fd = (int)a[0]; fd < 1024; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
        return 0;
    }
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)a[2];
        const char *path = (const char *)a[1];
        while (how->resolve != 0 && *path == '/')
            path++;
        return openat((int)a[0], *path == 0 ? "." : path, (int)how->flags, (mode_t)how->mode);
    }
    if (number == SYS_open_tree) {
        errno = ENOSYS;
        return -1;
    }
    if (number == SYS_pidfd_open)
        return ask(number, a[0], -1);
    if (number == SYS_pidfd_send_signal)
        return ask(number, a[1], (int)a[0]);
    return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The number of the process that never was: whoever waits for it is told ECHILD, and takes that for its end. */
#define NOBODY 0x3ffffff

int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
    (void)stack;
    if ((flags & CLONE_FILES) != 0)
        return function(argument) == 0 ? NOBODY : -1;
    va_list list;
    va_start(list, argument);
    int *pidfd = va_arg(list, int *);
    va_end(list);
    /* As with CLONE_VFORK, it executes, or ends, before this returns. */
    int executed[2];
    if (pipe2(executed, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(function(argument));
    close(executed[1]);
    char nothing;
    if (read(executed[0], &nothing, 1) != 0)
        abort();
    close(executed[0]);
    *pidfd = (int)ask(SYS_pidfd_open, pid, -1);
    return pid;
}

#endif
