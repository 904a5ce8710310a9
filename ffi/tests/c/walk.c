/*
 * Every function once, as a program would use it: image, container, streams, exec, events, logs, run.
 *
 *     walk ROOT STATE ROOTFS.tar IMAGE.tar
 */
#include "check.h"

static void images(dhow_engine *engine, const char *rootfs, const char *archive)
{
    dhow_error *error = NULL;
    char *json = NULL;
    import_image(engine, rootfs, "bb");

    OK(dhow_image_load_path(engine, archive, &json, &error));
    CHECK(strstr(json, "\"RepoTags\":[\"loaded:1\"]") != NULL);
    dhow_string_free(json);
    /* From a pipe, too, and without wanting to know. */
    char command[4096];
    snprintf(command, sizeof command, "cat '%s'", archive);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    OK(dhow_image_load_fd(engine, fileno(pipe), NULL, &error));
    CHECK(pclose(pipe) == 0);

    OK(dhow_image_list(engine, NULL, &json, &error));
    CHECK(strstr(json, "bb:latest") != NULL && strstr(json, "loaded:1") != NULL);
    dhow_string_free(json);
    OK(dhow_image_list(engine, "{\"reference\":[\"bb\"]}", &json, &error));
    CHECK(strstr(json, "bb:latest") != NULL && strstr(json, "loaded:1") == NULL);
    dhow_string_free(json);
    OK(dhow_image_remove(engine, "loaded:1", 0, &json, &error));
    CHECK(strstr(json, "\"Untagged\":\"loaded:1\"") != NULL);
    dhow_string_free(json);

    const char *changes[] = {"CMD [\"echo\", \"changed\"]", "ENV A=1"};
    dhow_import_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.reference = "changed:2";
    options.changes = changes;
    options.changes_count = 2;
    int fd = open(rootfs, O_RDONLY | O_CLOEXEC);
    OK(dhow_image_import_fd(engine, fd, &options, NULL, &error));
    close(fd);
}

static void exec(dhow_engine *engine, const char *id)
{
    dhow_error *error = NULL;
    dhow_process process = no_process();
    char *exec_id = NULL, *json = NULL;
    int32_t code = -1;
    OK(dhow_container_exec(engine, id, "{\"Cmd\":[\"sh\",\"-c\",\"echo hello from exec; echo oops >&2; exit 5\"]}",
                           DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR, &process, &exec_id, &error));
    CHECK(process.pid > 0 && process.stdin_fd == -1);
    expect_all(process.stdout_fd, "hello from exec\n");
    expect_all(process.stderr_fd, "oops\n");
    await_readable(process.pidfd);
    OK(dhow_exec_wait(engine, exec_id, PATIENCE_MS, &code, &error));
    CHECK(code == 5);
    OK(dhow_exec_inspect(engine, exec_id, &json, &error));
    CHECK(strstr(json, "\"ExitCode\":5") != NULL);
    dhow_string_free(json);
    dhow_string_free(exec_id);
    dhow_process_close(&process);
    CHECK(process.pidfd == -1 && process.stdout_fd == -1);

    /* With input; the id is not wanted. */
    process = no_process();
    OK(dhow_container_exec(engine, id, "{\"Cmd\":[\"cat\"]}", DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT, &process, NULL,
                           &error));
    CHECK(write(process.stdin_fd, "through cat", 11) == 11);
    close(process.stdin_fd);
    process.stdin_fd = -1;
    expect_all(process.stdout_fd, "through cat");
    dhow_process_close(&process);

    /* A terminal of a known size. */
    process = no_process();
    OK(dhow_container_exec(engine, id, "{\"Cmd\":[\"stty\",\"size\"],\"Tty\":true,\"ConsoleSize\":[13,57]}",
                           DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR, &process, &exec_id, &error));
    CHECK(process.stderr_fd == -1);
    expect_all(process.stdout_fd, "13 57\r\n");
    OK(dhow_exec_wait(engine, exec_id, -1, NULL, &error));
    dhow_string_free(exec_id);
    dhow_process_close(&process);
}

static void container(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char id[65];
    char *json = NULL;
    create(engine, "echo out; echo err >&2; read x; echo got $x; exit 7", ",\"OpenStdin\":true,\"StdinOnce\":true", "",
           id);
    dhow_process process = no_process();
    uint32_t all = DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR;
    OK(dhow_container_start(engine, id, all, &process, &error));
    int fds[] = {process.pidfd, process.stdin_fd, process.stdout_fd, process.stderr_fd};
    for (int i = 0; i < 4; i++)
        CHECK(fds[i] >= 0 && (fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(kill(process.pid, 0) == 0 && !is_readable(process.pidfd));
    OK(dhow_container_inspect(engine, id, &json, &error));
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"Pid\":%d", process.pid);
    CHECK(strstr(json, wanted) != NULL && strstr(json, "\"Status\":\"running\"") != NULL);
    dhow_string_free(json);

    exec(engine, id);

    CHECK(write(process.stdin_fd, "world\n", 6) == 6);
    expect_all(process.stdout_fd, "out\ngot world\n");
    expect_all(process.stderr_fd, "err\n");
    await_readable(process.pidfd);
    int32_t code = -1;
    OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, &code, &error));
    CHECK(code == 7);
    dhow_process_close(&process);

    dhow_logs *logs = NULL;
    OK(dhow_container_logs(engine, id, NULL, &logs, &error));
    CHECK(dhow_logs_fd(logs) == -1);
    dhow_log_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    int out = 0, err = 0;
    dhow_status status;
    while ((status = dhow_logs_next(logs, &entry, &error)) == DHOW_OK) {
        CHECK(entry.time_ns > 0 && entry.length > 0 && entry.data[entry.length - 1] == '\n');
        *(entry.stream == DHOW_STREAM_STDERR ? &err : &out) += 1;
    }
    CHECK(status == DHOW_END && error == NULL && out == 2 && err == 1);
    dhow_logs_close(logs);

    OK(dhow_container_list(engine, DHOW_LIST_ALL, "{\"exited\":[\"7\"]}", &json, &error));
    CHECK(strstr(json, id) != NULL);
    dhow_string_free(json);
    OK(dhow_container_list(engine, 0, NULL, &json, &error));
    CHECK(strcmp(json, "[]") == 0);
    dhow_string_free(json);
    OK(dhow_container_remove(engine, id, DHOW_REMOVE_VOLUMES, &error));
}

/* A log that is followed ends with its container; signals end containers. */
static void followed(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char id[65];
    create(engine, "echo one; sleep 1000", "", "", id);
    OK(dhow_container_start(engine, id, 0, NULL, &error));
    dhow_logs_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.flags = DHOW_LOGS_FOLLOW;
    dhow_logs *logs = NULL;
    OK(dhow_container_logs(engine, id, &options, &logs, &error));
    dhow_log_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    dhow_status status;
    while ((status = dhow_logs_next(logs, &entry, &error)) == DHOW_AGAIN)
        await_readable(dhow_logs_fd(logs));
    CHECK(status == DHOW_OK && entry.length == 4 && memcmp(entry.data, "one\n", 4) == 0);
    CHECK(dhow_logs_next(logs, &entry, &error) == DHOW_AGAIN);
    OK(dhow_container_signal(engine, id, SIGKILL, &error));
    while ((status = dhow_logs_next(logs, &entry, &error)) == DHOW_AGAIN)
        await_readable(dhow_logs_fd(logs));
    CHECK(status == DHOW_END);
    dhow_logs_close(logs);
    int32_t code = 0;
    OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, &code, &error));
    CHECK(code == 137);

    OK(dhow_container_start(engine, id, 0, NULL, &error));
    OK(dhow_container_stop(engine, id, 0, &error));
    OK(dhow_container_remove(engine, id, 0, &error));
}

static void terminal(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char id[65];
    create(engine, "read x; stty size", ",\"Tty\":true,\"OpenStdin\":true", "", id);
    dhow_process process = no_process();
    OK(dhow_container_start(engine, id, DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT, &process, &error));
    OK(dhow_container_resize(engine, id, 21, 43, &error));
    /* The monitor takes clients in turn: a second one has been served once the first was. */
    OK(dhow_container_resize(engine, id, 22, 44, &error));
    struct timespec moment = {0, 200000000};
    nanosleep(&moment, NULL);
    CHECK(write(process.stdin_fd, "go\n", 3) == 3);
    expect_all(process.stdout_fd, "go\r\n22 44\r\n");
    dhow_process_close(&process);
    OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, NULL, &error));
    OK(dhow_container_remove(engine, id, 0, &error));
}

/* The shortest life, and a container that is gone when one asks: pidfd and exit code are there all the same. */
static void brief(dhow_engine *engine)
{
    dhow_error *error = NULL;
    for (int i = 0; i < 10; i++) {
        char id[65];
        create(engine, "exit 9", "", ",\"AutoRemove\":true", id);
        dhow_process process = no_process();
        OK(dhow_container_start(engine, id, DHOW_STREAM_STDOUT, &process, &error));
        await_readable(process.pidfd);
        expect_all(process.stdout_fd, "");
        int32_t code = -1;
        OK(dhow_container_wait(engine, id, DHOW_WAIT_REMOVED, PATIENCE_MS, &code, &error));
        CHECK(code == 9);
        code = -1;
        OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, &code, &error));
        CHECK(code == 9);
        dhow_process_close(&process);
    }
}

/* Who does not read holds nobody up that does; who closes is forgotten. */
static void much_output(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char id[65];
    create(engine, "seq 1 400000; echo done >&2", "", "", id);
    dhow_process process = no_process();
    OK(dhow_container_start(engine, id, DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR, &process, &error));
    char first[2];
    CHECK(read(process.stdout_fd, first, 2) == 2 && memcmp(first, "1\n", 2) == 0);
    /* 2.7 MB do not fit between: it waits for us. */
    CHECK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, 500, NULL, NULL) == DHOW_ERROR_TIMEOUT);
    close(process.stdout_fd);
    process.stdout_fd = -1;
    expect_all(process.stderr_fd, "done\n");
    OK(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, NULL, &error));
    dhow_process_close(&process);
    OK(dhow_container_remove(engine, id, 0, &error));
}

static int32_t take(void *user_data, uint32_t stream, const void *data, size_t length)
{
    (void)data;
    size_t *counts = (size_t *)user_data;
    counts[stream == DHOW_STREAM_STDERR] += length;
    return counts[2] != 0 && counts[0] >= counts[2];
}

static void run(dhow_engine *engine)
{
    dhow_error *error = NULL;
    dhow_run_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    dhow_run_result result;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;
    const char *config = "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"wc -c; echo err >&2; exit 4\"],"
                         "\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    size_t length = 300000;
    char *input = (char *)calloc(1, length);
    options.stdin_data = input;
    options.stdin_length = length;
    OK(dhow_run(engine, config, &options, &result, &error));
    CHECK(result.exit_code == 4 && strlen(result.id) == 64);
    CHECK(result.stdout_length == 7 && strcmp((char *)result.stdout_data, "300000\n") == 0);
    CHECK(result.stderr_length == 4 && strcmp((char *)result.stderr_data, "err\n") == 0);
    dhow_run_result_clear(&result);
    CHECK(result.id == NULL);
    free(input);
    options.stdin_data = NULL;
    options.stdin_length = 0;

    size_t counts[3] = {0, 0, 0};
    options.on_output = take;
    options.user_data = counts;
    config = "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"seq 1 100000; seq 1 10 >&2\"],"
             "\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    OK(dhow_run(engine, config, &options, &result, &error));
    CHECK(counts[0] == 588895 && counts[1] == 21 && result.stdout_data == NULL);
    dhow_run_result_clear(&result);

    /* The callback has seen enough. */
    counts[0] = counts[1] = 0;
    counts[2] = 1000;
    config = "{\"Image\":\"bb\",\"Cmd\":[\"yes\"],\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    FAILS(dhow_run(engine, config, &options, &result, &error), DHOW_ERROR_CANCELLED, "refused");
    CHECK(result.exit_code == 137);
    dhow_run_result_clear(&result);

    options.on_output = NULL;
    options.timeout_ms = 300;
    config = "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"echo before; sleep 1000\"],"
             "\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    FAILS(dhow_run(engine, config, &options, &result, &error), DHOW_ERROR_TIMEOUT, "time was over");
    CHECK(strcmp((char *)result.stdout_data, "before\n") == 0 && result.exit_code == 137);
    dhow_run_result_clear(&result);
    /* Outputs closed, but alive. */
    config = "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"exec >/dev/null 2>&1; sleep 1000\"],"
             "\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    FAILS(dhow_run(engine, config, &options, &result, &error), DHOW_ERROR_TIMEOUT, "time was over");
    dhow_run_result_clear(&result);

    options.timeout_ms = 0;
    options.flags = DHOW_RUN_KEEP;
    options.name = "kept";
    config = "{\"Image\":\"changed:2\",\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    OK(dhow_run(engine, config, &options, &result, &error));
    CHECK(strcmp((char *)result.stdout_data, "changed\n") == 0);
    dhow_run_result_clear(&result);
    OK(dhow_container_remove(engine, "kept", 0, &error));
}

/* The events that are there now. */
static int count_events(dhow_events *events, const char *word)
{
    dhow_error *error = NULL;
    char *json = NULL;
    int count = 0;
    dhow_status status;
    while ((status = dhow_events_next(events, &json, &error)) == DHOW_OK) {
        count += strstr(json, word) != NULL;
        dhow_string_free(json);
    }
    CHECK(status == DHOW_AGAIN && json == NULL && error == NULL);
    return count;
}

static void events(dhow_engine *engine)
{
    dhow_error *error = NULL;
    dhow_events_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.filters = "{\"type\":[\"container\"],\"event\":[\"create\",\"die\"]}";
    dhow_events *stream = NULL;
    OK(dhow_events_open(engine, &options, &stream, &error));
    int fd = dhow_events_fd(stream);
    CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(count_events(stream, "") == 0 && !is_readable(fd));
    char id[65];
    create(engine, "exit 3", "", "", id);
    await_readable(fd);
    CHECK(count_events(stream, "\"Action\":\"create\"") == 1);
    OK(dhow_container_start(engine, id, 0, NULL, &error));
    int died = 0;
    while (died == 0) {
        await_readable(fd);
        died += count_events(stream, "\"exitCode\":\"3\"");
    }
    OK(dhow_container_remove(engine, id, 0, &error));
    dhow_events_close(stream);

    /* Again from the first on, which each event's number allows. */
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.cursor = 1;
    OK(dhow_events_open(engine, &options, &stream, &error));
    CHECK(count_events(stream, id) >= 4);
    dhow_events_close(stream);
    options.cursor = 0;
    options.since = "0";
    OK(dhow_events_open(engine, &options, &stream, &error));
    /* A stream outlives its engine. */
    CHECK(count_events(stream, "\"seq\":1}") == 1);
    dhow_events_close(stream);
}

int main(int argc, char **argv)
{
    CHECK(argc == 5);
    CHECK(dhow_abi_version() == DHOW_ABI_VERSION && strchr(dhow_version(), '.') != NULL);
    dhow_engine *engine = open_engine(argv[1], argv[2]);
    images(engine, argv[3], argv[4]);
    container(engine);
    followed(engine);
    terminal(engine);
    brief(engine);
    much_output(engine);
    run(engine);
    events(engine);
    dhow_engine_close(engine);
    printf("walked\n");
    return 0;
}
