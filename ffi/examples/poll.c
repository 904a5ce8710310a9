/*
 * One event loop over a container: its output, its end, and what the engine tells of it. No thread, no callback.
 *
 *     cc poll.c $(pkg-config --cflags --libs dhow) -o poll
 *     ./poll debian:12
 */
#define _GNU_SOURCE
#include <dhow.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what, dhow_error *error)
{
    fprintf(stderr, "%s: %s: %s\n", what, dhow_status_name(dhow_error_status(error)), dhow_error_message(error));
    dhow_error_free(error);
    return 1;
}

/* The id in {"Id":"…","Warnings":[]}: 64 digits. */
static int id_of(const char *created, char id[65])
{
    const char *at = strstr(created, "\"Id\":\"");
    if (at == NULL || strlen(at) < 6 + 64)
        return -1;
    memcpy(id, at + 6, 64);
    id[64] = 0;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s IMAGE\n", argv[0]);
        return 2;
    }
    dhow_error *error = NULL;
    dhow_engine *engine = NULL;
    dhow_engine_options where;
    memset(&where, 0, sizeof where);
    where.struct_size = sizeof where;
    where.root = getenv("DHOW_ROOT");
    where.state = getenv("DHOW_STATE");
    if (dhow_engine_open(&where, &engine, &error) != DHOW_OK)
        return failed("open", error);

    dhow_events *events = NULL;
    if (dhow_events_open(engine, NULL, &events, &error) != DHOW_OK)
        return failed("events", error);

    char config[1024], id[65];
    snprintf(config, sizeof config,
             "{\"Image\":\"%s\",\"Cmd\":[\"sh\",\"-c\",\"for i in 1 2 3; do echo $i; sleep 0.1; done; exit 3\"],"
             "\"HostConfig\":{\"NetworkMode\":\"none\"}}", argv[1]);
    char *created = NULL;
    if (dhow_container_create(engine, NULL, config, &created, &error) != DHOW_OK)
        return failed("create", error);
    if (id_of(created, id) != 0)
        return 1;
    dhow_string_free(created);

    dhow_process process;
    memset(&process, 0, sizeof process);
    process.struct_size = sizeof process;
    if (dhow_container_start(engine, id, DHOW_STREAM_STDOUT, &process, &error) != DHOW_OK)
        return failed("start", error);

    struct pollfd fds[3] = {
        {process.stdout_fd, POLLIN, 0},
        {process.pidfd, POLLIN, 0},
        {dhow_events_fd(events), POLLIN, 0},
    };
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[0].revents != 0) {
            char buffer[4096];
            ssize_t count = read(fds[0].fd, buffer, sizeof buffer);
            if (count > 0)
                printf("output: %.*s", (int)count, buffer);
            else
                fds[0].fd = -1;
        }
        if (fds[1].revents != 0) {
            printf("the process has ended\n");
            fds[1].fd = -1;
        }
        if (fds[2].revents != 0) {
            char *event = NULL;
            while (dhow_events_next(events, &event, &error) == DHOW_OK) {
                printf("event: %s\n", event);
                dhow_string_free(event);
            }
            if (error != NULL)
                return failed("events", error);
        }
    }
    int32_t code = 0;
    if (dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, 10000, &code, &error) != DHOW_OK)
        return failed("wait", error);
    printf("exit code: %d\n", code);
    if (dhow_container_remove(engine, id, 0, &error) != DHOW_OK)
        return failed("remove", error);
    dhow_process_close(&process);
    dhow_events_close(events);
    dhow_engine_close(engine);
    return 0;
}
