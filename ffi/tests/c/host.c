/*
 * A host that has a life of its own: many threads that run containers at the same time, children of its own that a
 * SIGCHLD handler reaps with waitpid(-1), a timer that interrupts every system call. Neither may notice the other.
 *
 *     host ROOT STATE ROOTFS.tar THREADS ROUNDS
 */
#include "check.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/time.h>
#include <time.h>

/* Handlers run on several threads at once. */
static int reaped, strangers, ticks;
#define COUNT(counter) __atomic_add_fetch(&(counter), 1, __ATOMIC_RELAXED)

/* As careless as handlers are: it takes whatever ends. */
static void reap(int signal)
{
    (void)signal;
    int saved = errno, status;
    while (waitpid(-1, &status, WNOHANG) > 0) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == 33)
            COUNT(reaped);
        else
            COUNT(strangers);
    }
    errno = saved;
}

static void tick(int signal)
{
    (void)signal;
    COUNT(ticks);
}

static dhow_engine *engine;
static int rounds;

static void *work(void *number)
{
    dhow_error *error = NULL;
    int me = *(int *)number;
    for (int round = 0; round < rounds; round++) {
        char config[512], wanted[64];
        snprintf(config, sizeof config,
                 "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"echo %d.%d; exit %d\"],"
                 "\"HostConfig\":{\"NetworkMode\":\"none\"}}", me, round, me);
        snprintf(wanted, sizeof wanted, "%d.%d\n", me, round);
        dhow_run_result result;
        memset(&result, 0, sizeof result);
        result.struct_size = sizeof result;
        OK(dhow_run(engine, config, NULL, &result, &error));
        CHECK(result.exit_code == me && strcmp((char *)result.stdout_data, wanted) == 0);
        dhow_run_result_clear(&result);

        char id[65];
        char *exec_id = NULL;
        int32_t code = -1;
        create(engine, "cat", ",\"OpenStdin\":true,\"StdinOnce\":true", "", id);
        dhow_process process = no_process(), inner = no_process();
        OK(dhow_container_start(engine, id, DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT, &process, &error));
        OK(dhow_container_exec(engine, id, "{\"Cmd\":[\"sh\",\"-c\",\"echo in; exit 6\"]}", DHOW_STREAM_STDOUT, &inner,
                               &exec_id, &error));
        expect_all(inner.stdout_fd, "in\n");
        OK(dhow_exec_wait(engine, exec_id, PATIENCE_MS, &code, &error));
        CHECK(code == 6);
        dhow_string_free(exec_id);
        dhow_process_close(&inner);
        CHECK(send(process.stdin_fd, wanted, strlen(wanted), MSG_NOSIGNAL) == (ssize_t)strlen(wanted));
        close(process.stdin_fd);
        process.stdin_fd = -1;
        expect_all(process.stdout_fd, wanted);
        await_readable(process.pidfd);
        OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, &code, &error));
        CHECK(code == 0);
        dhow_process_close(&process);
        OK(dhow_container_remove(engine, id, 0, &error));
    }
    return NULL;
}

static int over;
static int forked;

static void *have_children(void *nothing)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            _exit(33);
        forked++;
        struct timespec moment = {0, 3000000};
        nanosleep(&moment, NULL);
    }
    return nothing;
}

/* What a host could notice of a careless guest. */
struct state {
    struct sigaction actions[65];
    sigset_t mask;
    int descriptors, threads;
    char directory[4096];
    unsigned long environment;
};

static int count_entries(const char *path)
{
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

extern char **environ;

static void look(struct state *state)
{
    memset(state, 0, sizeof *state);
    for (int signal = 1; signal < 65; signal++)
        sigaction(signal, NULL, &state->actions[signal]);
    pthread_sigmask(SIG_SETMASK, NULL, &state->mask);
    state->descriptors = count_entries("/proc/self/fd");
    state->threads = count_entries("/proc/self/task");
    CHECK(getcwd(state->directory, sizeof state->directory) != NULL);
    for (char **entry = environ; *entry != NULL; entry++)
        for (const char *at = *entry; *at != 0; at++)
            state->environment = state->environment * 31 + (unsigned char)*at;
}

static int same_action(const struct sigaction *a, const struct sigaction *b)
{
    return a->sa_handler == b->sa_handler && a->sa_flags == b->sa_flags;
}

int main(int argc, char **argv)
{
    CHECK(argc == 6);
    int threads = atoi(argv[4]);
    rounds = atoi(argv[5]);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: every system call of every thread may be interrupted. */
    action.sa_handler = reap;
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    action.sa_handler = tick;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);

    struct state before, after;
    look(&before);
    engine = open_engine(argv[1], argv[2]);
    import_image(engine, argv[3], "bb");
    struct itimerval often;
    memset(&often, 0, sizeof often);
    often.it_interval.tv_usec = often.it_value.tv_usec = 2000;
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);

    pthread_t workers[64], parent;
    int numbers[64];
    CHECK(threads > 0 && threads <= 64);
    CHECK(pthread_create(&parent, NULL, have_children, NULL) == 0);
    for (int i = 0; i < threads; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&workers[i], NULL, work, &numbers[i]) == 0);
    }
    for (int i = 0; i < threads; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    CHECK(pthread_join(parent, NULL) == 0);
    memset(&often, 0, sizeof often);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    dhow_engine_close(engine);
    for (int i = 0; i < 5000 && __atomic_load_n(&reaped, __ATOMIC_RELAXED) < forked; i++) {
        struct timespec moment = {0, 1000000};
        nanosleep(&moment, NULL);
        reap(SIGCHLD);
    }
    printf("%d threads, %d rounds, %d children, %d ticks\n", threads, rounds, forked, ticks);
    CHECK(strangers == 0);
    CHECK(reaped == forked && forked > 0 && ticks > 0);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);

    look(&after);
    for (int signal = 1; signal < 65; signal++)
        CHECK(same_action(&before.actions[signal], &after.actions[signal]));
    CHECK(memcmp(&before.mask, &after.mask, sizeof before.mask) == 0);
    CHECK(before.descriptors == after.descriptors);
    CHECK(before.threads == after.threads);
    CHECK(strcmp(before.directory, after.directory) == 0);
    CHECK(before.environment == after.environment);
    return 0;
}
