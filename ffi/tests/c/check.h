/* What the test programs share: an engine in directories of the test's own, and checks that say what they saw. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dhow.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);          \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

/* A call that must succeed; `error` is the variable that it was given. */
#define OK(call)                                                                                              \
    do {                                                                                                      \
        dhow_status status_ = (call);                                                                         \
        if (status_ != DHOW_OK || error != NULL) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, dhow_status_name(status_),        \
                    dhow_error_message(error));                                                               \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

/* A call that must fail so, with a message in which `word` stands. */
#define FAILS(call, wanted, word)                                                                             \
    do {                                                                                                      \
        dhow_status status_ = (call);                                                                         \
        if (status_ != (wanted) || dhow_error_status(error) != (wanted) ||                                    \
            strstr(dhow_error_message(error), (word)) == NULL) {                                              \
            fprintf(stderr, "%s:%d: %s gave %d (%s): %s; want %s with \"%s\"\n", __FILE__, __LINE__, #call,     \
                    status_, dhow_status_name(status_), dhow_error_message(error), #wanted, (word));          \
            exit(1);                                                                                          \
        }                                                                                                     \
        dhow_error_free(error);                                                                               \
        error = NULL;                                                                                         \
    } while (0)

/* Long enough for any machine, short enough to tell a test that hangs. */
#define PATIENCE_MS 60000

static inline dhow_engine *open_engine(const char *root, const char *state)
{
    dhow_error *error = NULL;
    dhow_engine *engine = NULL;
    dhow_engine_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.root = root;
    options.state = state;
    OK(dhow_engine_open(&options, &engine, &error));
    CHECK(engine != NULL);
    return engine;
}

static inline void import_image(dhow_engine *engine, const char *tar, const char *name)
{
    dhow_error *error = NULL;
    dhow_import_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.reference = name;
    int fd = open(tar, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    char *id = NULL;
    OK(dhow_image_import_fd(engine, fd, &options, &id, &error));
    CHECK(strncmp(id, "sha256:", 7) == 0 && strlen(id) == 7 + 64);
    dhow_string_free(id);
    close(fd);
}

/* Makes a container of `bb` that runs `script`; `more` is further JSON, with a comma before it. */
static inline void create(dhow_engine *engine, const char *script, const char *more, const char *host, char id[65])
{
    dhow_error *error = NULL;
    char config[4096];
    snprintf(config, sizeof config,
             "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"%s\"]%s,\"HostConfig\":{\"NetworkMode\":\"none\"%s}}", script,
             more, host);
    char *json = NULL;
    OK(dhow_container_create(engine, NULL, config, &json, &error));
    const char *at = strstr(json, "\"Id\":\"");
    CHECK(at != NULL && strlen(at) > 6 + 64);
    memcpy(id, at + 6, 64);
    id[64] = 0;
    dhow_string_free(json);
}

static inline dhow_process no_process(void)
{
    dhow_process process;
    memset(&process, 0, sizeof process);
    process.struct_size = sizeof process;
    return process;
}

/* Everything to the end; returned as text that the caller frees. */
static inline char *read_all(int fd)
{
    size_t length = 0, room = 4096;
    char *text = (char *)malloc(room);
    CHECK(text != NULL);
    for (;;) {
        ssize_t count = read(fd, text + length, room - length - 1);
        if (count < 0 && errno == EINTR)
            continue;
        CHECK(count >= 0);
        if (count == 0)
            break;
        length += (size_t)count;
        if (room - length < 2) {
            room *= 2;
            text = (char *)realloc(text, room);
            CHECK(text != NULL);
        }
    }
    text[length] = 0;
    return text;
}

static inline void expect_all(int fd, const char *wanted)
{
    char *text = read_all(fd);
    if (strcmp(text, wanted) != 0) {
        fprintf(stderr, "read \"%s\", want \"%s\"\n", text, wanted);
        exit(1);
    }
    free(text);
}

/* Waits until `fd` is readable, by epoll. */
static inline void await_readable(int fd)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    CHECK(poller >= 0);
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = fd;
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    int count;
    do
        count = epoll_wait(poller, &event, 1, PATIENCE_MS);
    while (count < 0 && errno == EINTR);
    CHECK(count == 1 && event.data.fd == fd && (event.events & EPOLLIN) != 0);
    close(poller);
}

static inline int is_readable(int fd)
{
    struct pollfd poller;
    poller.fd = fd;
    poller.events = POLLIN;
    poller.revents = 0;
    return poll(&poller, 1, 0) == 1;
}

#endif
