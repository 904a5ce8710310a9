/*
 * What fork and exec hand on.
 *
 *     inherited show [CODE]       tells each attribute of this process, one a line, and ends with that code
 *     inherited set COMMAND...    makes each as odd as can be, and becomes the command
 *     inherited bind COMMAND...   a filter and memory rules that nobody can undo, and becomes the command
 *
 * `set` enters the cgroups in $INHERITED_CGROUPS, directories with blanks between them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers may be. */
#define SET_MDWE 65
#define SET_MEMORY_MERGE 67
#define GET_MEMORY_MERGE 68

#define MUST(call)                                                                                            \
    do {                                                                                                      \
        if ((call) < 0) {                                                                                     \
            fprintf(stderr, "inherited: %s: %s\n", #call, strerror(errno));                                    \
            exit(99);                                                                                         \
        }                                                                                                     \
    } while (0)

static const struct {
    const char *name;
    int number;
    rlim_t odd;
} limits[] = {
    {"as", RLIMIT_AS, 64ull << 30},       {"core", RLIMIT_CORE, 4096},
    {"cpu", RLIMIT_CPU, 1000},            {"data", RLIMIT_DATA, 16ull << 30},
    {"fsize", RLIMIT_FSIZE, 1ull << 30},  {"locks", RLIMIT_LOCKS, 100},
    {"memlock", RLIMIT_MEMLOCK, 65536},   {"msgqueue", RLIMIT_MSGQUEUE, 4096},
    {"nice", RLIMIT_NICE, 0},             {"nofile", RLIMIT_NOFILE, 300},
    {"nproc", RLIMIT_NPROC, 30000},       {"rss", RLIMIT_RSS, 1ull << 30},
    {"rtprio", RLIMIT_RTPRIO, 0},         {"rttime", RLIMIT_RTTIME, 5000000},
    {"sigpending", RLIMIT_SIGPENDING, 99}, {"stack", RLIMIT_STACK, 2 << 20},
};
#define LIMITS (sizeof limits / sizeof *limits)

static void show_limit(rlim_t value)
{
    if (value == RLIM_INFINITY)
        printf(" unlimited");
    else
        printf(" %llu", (unsigned long long)value);
}

/* Lines of a file that begin with one of the words. */
static void show_lines(const char *path, const char *words[])
{
    char line[4096];
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        for (const char **word = words; *word != NULL; word++)
            if (strncmp(line, *word, strlen(*word)) == 0)
                fputs(line, stdout);
    if (file != NULL)
        fclose(file);
}

static void show_file(const char *name, const char *path)
{
    char text[256] = "";
    int file = open(path, O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = 0;
    text[strcspn(text, "\n")] = 0;
    close(file);
    printf("%s: %s\n", name, text);
}

static void show(void)
{
    mode_t mask = umask(0);
    umask(mask);
    printf("umask: %03o\n", mask);
    for (size_t i = 0; i < LIMITS; i++) {
        struct rlimit limit;
        MUST(getrlimit(limits[i].number, &limit));
        printf("rlimit %s:", limits[i].name);
        show_limit(limit.rlim_cur);
        show_limit(limit.rlim_max);
        printf("\n");
    }
    printf("nice: %d\n", getpriority(PRIO_PROCESS, 0));
    printf("policy: %d\n", sched_getscheduler(0));
    printf("ioprio: %ld\n", syscall(SYS_ioprio_get, 1, 0));
    cpu_set_t set;
    MUST(sched_getaffinity(0, sizeof set, &set));
    printf("processors: %d\n", CPU_COUNT(&set));
    int mode = -1;
    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    printf("memory policy: %d\n", mode);
    show_file("oom_score_adj", "/proc/self/oom_score_adj");
    show_file("coredump_filter", "/proc/self/coredump_filter");
    printf("personality: %x\n", personality(0xffffffff));
    printf("no_new_privs: %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("securebits: %x\n", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    printf("timer slack: %d\n", prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
    printf("huge pages refused: %d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    int merged = prctl(GET_MEMORY_MERGE, 0, 0, 0, 0);
    printf("pages merged: %d\n", merged < 0 ? 0 : merged);
    printf("memory errors: %d\n", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    printf("store bypass: %d\n", prctl(PR_GET_SPECULATION_CTRL, 0, 0, 0, 0));
    printf("indirect branches: %d\n", prctl(PR_GET_SPECULATION_CTRL, 1, 0, 0, 0));
    int signal = -1, reaper = -1;
    prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
    prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0);
    printf("parent death signal: %d\nchild subreaper: %d\n", signal, reaper);
    printf("dumpable: %d\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    long key = syscall(SYS_keyctl, 10, -3, "user", "inherited", 0);
    printf("key of the session: %s\n", key > 0 ? "found" : "none");
    printf("ids: %d %d %d\n", getuid(), getgid(), getegid());
    printf("environment: %s\n", getenv("INHERITED") == NULL ? "none" : "leaked");
    printf("descriptor 200: %s\n", fcntl(200, F_GETFD) < 0 ? "closed" : "open");
    char here[4096];
    printf("directory: %s\n", getcwd(here, sizeof here));
    /* One of the host's has no number in the container's pid namespace. */
    printf("session: %s\n", getsid(0) > 0 ? "own" : "other");
    struct stat root;
    MUST(stat("/", &root));
    printf("root: %o %d:%d\n", root.st_mode & 07777, root.st_uid, root.st_gid);
    struct stat hosts;
    if (stat("/etc/hosts", &hosts) == 0)
        printf("hosts: %o %d:%d\n", hosts.st_mode & 07777, hosts.st_uid, hosts.st_gid);
    const char *words[] = {"Groups:", "SigBlk:", "SigIgn:", "Cap", "Seccomp:", NULL};
    show_lines("/proc/self/status", words);
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) {
        fprintf(stderr, "inherited: write %s: %s\n", path, strerror(errno));
        exit(99);
    }
    close(file);
}

static void set(void)
{
    char *groups = getenv("INHERITED_CGROUPS");
    for (char *group = groups ? strtok(strdup(groups), " ") : NULL; group != NULL; group = strtok(NULL, " ")) {
        char path[4096];
        snprintf(path, sizeof path, "%s/cgroup.procs", group);
        write_file(path, "0");
    }
    umask(077);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    MUST(syscall(SYS_capget, &header, sets));
    int may_raise = sets[0].effective & 1 << CAP_SYS_RESOURCE;
    for (size_t i = 0; i < LIMITS; i++) {
        struct rlimit limit;
        MUST(getrlimit(limits[i].number, &limit));
        if (limits[i].odd < limit.rlim_max)
            limit.rlim_cur = limits[i].odd;
        /* Without the right to raise it again, nobody could. */
        if (may_raise)
            limit.rlim_max = limit.rlim_cur;
        MUST(setrlimit(limits[i].number, &limit));
    }
    struct sched_param none = {0};
    MUST(sched_setscheduler(0, SCHED_BATCH, &none));
    MUST(setpriority(PRIO_PROCESS, 0, 7));
    MUST(syscall(SYS_ioprio_set, 1, 0, 3 << 13));
    cpu_set_t processors, one;
    MUST(sched_getaffinity(0, sizeof processors, &processors));
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &processors))
            CPU_SET(i, &one);
    MUST(sched_setaffinity(0, sizeof one, &one));
    unsigned long nodes = 1;
    /* Kernels without NUMA have none. */
    if (syscall(SYS_set_mempolicy, 2, &nodes, 8) < 0 && errno != ENOSYS)
        MUST(-1);
    write_file("/proc/self/oom_score_adj", "500");
    write_file("/proc/self/coredump_filter", "0x7f");
    MUST(personality(ADDR_NO_RANDOMIZE));
    MUST(syscall(SYS_keyctl, 1, "inherited"));
    MUST(syscall(SYS_add_key, "user", "inherited", "secret", 6, -3));
    MUST(prctl(PR_SET_TIMERSLACK, 1234567, 0, 0, 0));
    MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    prctl(SET_MEMORY_MERGE, 1, 0, 0, 0);
    MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    /* Not every processor has these. */
    prctl(PR_SET_SPECULATION_CTRL, 0, PR_SPEC_DISABLE, 0, 0);
    prctl(PR_SET_SPECULATION_CTRL, 1, PR_SPEC_DISABLE, 0, 0);
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    for (int number = 1; number < 64; number++)
        if (number != SIGCHLD && number != SIGKILL && number != SIGSTOP && number != 32 && number != 33)
            signal(number, number % 2 ? SIG_IGN : SIG_DFL);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGRTMAX);
    MUST(sigprocmask(SIG_BLOCK, &blocked, NULL));
    gid_t group = 4242;
    MUST(setgroups(1, &group));
    MUST(setresgid(4242, 4242, 4242));
    sets[0].inheritable = sets[0].permitted;
    sets[1].inheritable = sets[1].permitted;
    MUST(syscall(SYS_capset, &header, sets));
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0));
    /* SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE. */
    MUST(prctl(PR_SET_SECUREBITS, 1 << 2 | 1 << 6, 0, 0, 0));
    MUST(setenv("INHERITED", "yes", 1));
    MUST(dup2(open("/", O_RDONLY), 200));
    MUST(chdir("/tmp"));
    /* Last: a change of ids clears it. */
    MUST(prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0));
}

static void bind(void)
{
    MUST(prctl(SET_MDWE, 1, 0, 0, 0));
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {1, all};
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (strcmp(what, "show") == 0) {
        show();
        return count > 2 ? atoi(arguments[2]) : 0;
    }
    if (strcmp(what, "set") == 0)
        set();
    else if (strcmp(what, "bind") == 0)
        bind();
    else
        return 98;
    execvp(arguments[2], arguments + 2);
    fprintf(stderr, "inherited: %s: %s\n", arguments[2], strerror(errno));
    return 97;
}
