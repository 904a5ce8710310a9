/*
 * For `cargo xtask bench ffi`: runs a container each time it is sent a line, and answers with the nanoseconds that
 * took. Without a line it just ends: then the whole process is what is measured.
 *
 *     bench ROOT STATE run|start|once
 *
 * run: dhow_run with its output gathered. start: create, start, the pidfd, wait until it is removed. once: a whole
 * program that opens, runs and closes.
 */
#include "check.h"

static const char CONFIG[] = "{\"Image\":\"bench\",\"Cmd\":[\"true\"],\"HostConfig\":{\"NetworkMode\":\"none\",\"AutoRemove\":true}}";

static void run(dhow_engine *engine)
{
    dhow_error *error = NULL;
    dhow_run_result result;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;
    OK(dhow_run(engine, CONFIG, NULL, &result, &error));
    CHECK(result.exit_code == 0);
    dhow_run_result_clear(&result);
}

static void start(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char *json = NULL, id[65];
    OK(dhow_container_create(engine, NULL, CONFIG, &json, &error));
    memcpy(id, strstr(json, "\"Id\":\"") + 6, 64);
    id[64] = 0;
    dhow_string_free(json);
    dhow_process process = no_process();
    OK(dhow_container_start(engine, id, 0, &process, &error));
    await_readable(process.pidfd);
    int32_t code = -1;
    OK(dhow_container_wait(engine, id, DHOW_WAIT_REMOVED, PATIENCE_MS, &code, &error));
    CHECK(code == 0);
    dhow_process_close(&process);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    dhow_engine *engine = open_engine(argv[1], argv[2]);
    if (strcmp(argv[3], "once") == 0) {
        run(engine);
        dhow_engine_close(engine);
        return 0;
    }
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct timespec before, after;
        clock_gettime(CLOCK_MONOTONIC, &before);
        if (strcmp(argv[3], "run") == 0)
            run(engine);
        else
            start(engine);
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%lld\n", (long long)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec));
        fflush(stdout);
    }
    dhow_engine_close(engine);
    return 0;
}
