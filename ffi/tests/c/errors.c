/*
 * Every documented error that a caller can bring about, by its number and a word of its message.
 *
 *     errors ROOT STATE ROOTFS.tar IMAGE.tar
 *
 * Not here: UNAUTHORIZED, which no function of this version gives, and PANIC, which only a defect could.
 */
#include "check.h"

static void opening(const char *scratch)
{
    dhow_error *error = NULL;
    dhow_engine *engine = NULL;
    dhow_engine_options options;
    memset(&options, 0, sizeof options);
    FAILS(dhow_engine_open(&options, &engine, &error), DHOW_ERROR_INVALID_ARGUMENT, "struct_size");
    options.struct_size = sizeof options;
    options.root = scratch;
    options.state = scratch;
    FAILS(dhow_engine_open(&options, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "engine is NULL");
    options.helper = "/no/such/helper";
    FAILS(dhow_engine_open(&options, &engine, &error), DHOW_ERROR_NOT_FOUND, "/no/such/helper");
    CHECK(engine == NULL);
    options.helper = "/etc/passwd";
    FAILS(dhow_engine_open(&options, &engine, &error), DHOW_ERROR_FORBIDDEN, "/etc/passwd");
    options.helper = "/bin/true";
    FAILS(dhow_engine_open(&options, &engine, &error), DHOW_ERROR_UNSUPPORTED, "is not dhow");
    options.helper = NULL;
    options.root = "/dev/null/root";
    CHECK(dhow_engine_open(&options, &engine, &error) == DHOW_ERROR_INTERNAL);
    CHECK(dhow_error_errno(error) == ENOTDIR && strstr(dhow_error_message(error), "/dev/null") != NULL);
    dhow_error_free(error);
    error = NULL;
    /* A newer program's option. */
    struct {
        dhow_engine_options known;
        void *unknown;
    } newer;
    memset(&newer, 0, sizeof newer);
    newer.known.struct_size = sizeof newer;
    newer.unknown = &newer;
    FAILS(dhow_engine_open(&newer.known, &engine, &error), DHOW_ERROR_UNSUPPORTED, "dhow_engine_options");
}

static void arguments(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char *json = NULL;
    char id[65];
    dhow_process process = no_process();
    FAILS(dhow_image_list(NULL, NULL, &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "engine is NULL");
    FAILS(dhow_image_list(engine, NULL, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "json is NULL");
    FAILS(dhow_image_list(engine, "{\"colour\":[\"red\"]}", &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "colour");
    FAILS(dhow_image_load_fd(engine, -1, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "no descriptor");
    FAILS(dhow_image_load_fd(engine, 1000, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "Bad file descriptor");
    FAILS(dhow_image_remove(engine, "bb", 64, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "0x40");
    FAILS(dhow_container_create(engine, NULL, "{", &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "invalid JSON");
    FAILS(dhow_container_create(engine, NULL, "[]", &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "config");
    FAILS(dhow_container_create(engine, "\xff", "{}", &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "not UTF-8");
    FAILS(dhow_container_create(engine, "a b", "{\"Image\":\"bb\",\"Cmd\":[\"x\"]}", &json, &error),
          DHOW_ERROR_INVALID_ARGUMENT, "a b");
    FAILS(dhow_container_start(engine, "x", 8, &process, &error), DHOW_ERROR_INVALID_ARGUMENT, "streams");
    FAILS(dhow_container_start(engine, "x", 1, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "dhow_process");
    FAILS(dhow_container_wait(engine, "x", 7, 0, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "condition");
    create(engine, "true", "", "", id);
    FAILS(dhow_container_signal(engine, id, 99, &error), DHOW_ERROR_INVALID_ARGUMENT, "99");
    OK(dhow_container_remove(engine, id, 0, &error));
    /* Nobody needs to listen. */
    CHECK(dhow_container_remove(engine, "nobody", 0, NULL) == DHOW_ERROR_NOT_FOUND);
    /* And what takes nothing takes NULL. */
    dhow_error_free(NULL);
    dhow_string_free(NULL);
    dhow_engine_close(NULL);
    dhow_events_close(NULL);
    dhow_logs_close(NULL);
    dhow_process_close(NULL);
    dhow_run_result_clear(NULL);
    CHECK(dhow_error_status(NULL) == DHOW_OK && dhow_error_errno(NULL) == 0 && dhow_error_message(NULL)[0] == 0);
    CHECK(dhow_events_fd(NULL) == -1 && dhow_logs_fd(NULL) == -1);
}

static void missing(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char *json = NULL;
    dhow_logs *logs = NULL;
    dhow_process process = no_process();
    dhow_status not_found = DHOW_ERROR_NOT_FOUND;
    FAILS(dhow_container_create(engine, NULL, "{\"Image\":\"nowhere\"}", &json, &error), not_found, "nowhere");
    CHECK(json == NULL);
    FAILS(dhow_container_start(engine, "nobody", 0, NULL, &error), not_found, "No such container: nobody");
    FAILS(dhow_container_wait(engine, "nobody", 0, 0, NULL, &error), not_found, "nobody");
    FAILS(dhow_container_signal(engine, "nobody", SIGTERM, &error), not_found, "nobody");
    FAILS(dhow_container_stop(engine, "nobody", 0, &error), not_found, "nobody");
    FAILS(dhow_container_resize(engine, "nobody", 1, 1, &error), not_found, "nobody");
    FAILS(dhow_container_inspect(engine, "nobody", &json, &error), not_found, "nobody");
    FAILS(dhow_container_logs(engine, "nobody", NULL, &logs, &error), not_found, "nobody");
    FAILS(dhow_container_exec(engine, "nobody", "{\"Cmd\":[\"x\"]}", 0, &process, NULL, &error), not_found, "nobody");
    FAILS(dhow_exec_wait(engine, "nobody", 0, NULL, &error), not_found, "nobody");
    FAILS(dhow_exec_resize(engine, "nobody", 1, 1, &error), not_found, "nobody");
    FAILS(dhow_exec_inspect(engine, "nobody", &json, &error), not_found, "nobody");
    FAILS(dhow_image_remove(engine, "nobody", 0, NULL, &error), not_found, "nobody");
    FAILS(dhow_image_load_path(engine, "/no/such/file", NULL, &error), not_found, "/no/such/file");
    CHECK(process.pidfd == -1 && process.stdout_fd == -1);
}

/* The process that holds an exec session's process: its parent. */
static pid_t parent_of(pid_t pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
    fclose(file);
    int parent = 0;
    CHECK(sscanf(strrchr(line, ')') + 1, " %*c %d", &parent) == 1 && parent > 1);
    return (pid_t)parent;
}

static void running(dhow_engine *engine)
{
    dhow_error *error = NULL;
    dhow_process process = no_process();
    dhow_logs *logs = NULL;
    char *json = NULL, *exec_id = NULL;
    char id[65];
    create(engine, "sleep 1000", "", ",\"LogConfig\":{\"Type\":\"none\"}", id);
    FAILS(dhow_container_exec(engine, id, "{\"Cmd\":[\"x\"]}", 0, &process, NULL, &error), DHOW_ERROR_CONFLICT,
          "is not running");
    FAILS(dhow_container_signal(engine, id, SIGTERM, &error), DHOW_ERROR_CONFLICT, "is not running");
    FAILS(dhow_container_stop(engine, id, 0, &error), DHOW_ERROR_NOT_MODIFIED, "is not running");
    FAILS(dhow_container_logs(engine, id, NULL, &logs, &error), DHOW_ERROR_UNSUPPORTED, "logging driver");
    OK(dhow_container_start(engine, id, 0, NULL, &error));
    FAILS(dhow_container_start(engine, id, 0, NULL, &error), DHOW_ERROR_NOT_MODIFIED, "already running");
    FAILS(dhow_container_remove(engine, id, 0, &error), DHOW_ERROR_CONFLICT, "running");
    FAILS(dhow_container_wait(engine, id, DHOW_WAIT_NOT_RUNNING, 50, NULL, &error), DHOW_ERROR_TIMEOUT, "50 ms");
    FAILS(dhow_image_remove(engine, "bb", 0, NULL, &error), DHOW_ERROR_CONFLICT, "is using");
    FAILS(dhow_container_exec(engine, id, "{\"Cmd\":[]}", 0, &process, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT,
          "no exec command");
    FAILS(dhow_container_exec(engine, id, "{\"Cmd\":[\"nonesuch\"]}", DHOW_STREAM_STDOUT, &process, &exec_id, &error),
          DHOW_ERROR_COMMAND_NOT_FOUND, "nonesuch");
    CHECK(exec_id == NULL && process.stdout_fd == -1);
    OK(dhow_container_exec(engine, id, "{\"Cmd\":[\"sleep\",\"1000\"]}", 0, &process, &exec_id, &error));
    FAILS(dhow_exec_wait(engine, exec_id, 50, NULL, &error), DHOW_ERROR_TIMEOUT, "50 ms");
    CHECK(kill(parent_of(process.pid), SIGKILL) == 0);
    FAILS(dhow_exec_wait(engine, exec_id, PATIENCE_MS, NULL, &error), DHOW_ERROR_UNAVAILABLE, "monitor");
    await_readable(process.pidfd);
    dhow_process_close(&process);
    dhow_string_free(exec_id);

    OK(dhow_container_inspect(engine, id, &json, &error));
    CHECK(strstr(json, "\"Running\":true") != NULL);
    dhow_string_free(json);
    OK(dhow_container_remove(engine, id, DHOW_REMOVE_FORCE, &error));
}

static void starting(dhow_engine *engine)
{
    dhow_error *error = NULL;
    char *json = NULL;
    const struct {
        const char *cmd, *host;
        dhow_status status;
        const char *word;
    } cases[] = {
        {"\"Cmd\":[\"nonesuch\"]", "", DHOW_ERROR_COMMAND_NOT_FOUND, "nonesuch"},
        {"\"Cmd\":[\"/etc/passwd\"]", "", DHOW_ERROR_COMMAND_NOT_EXECUTABLE, "/etc/passwd"},
        {"\"Cmd\":[\"true\"],\"WorkingDir\":\"/etc/passwd\"", "", DHOW_ERROR_START_FAILED, "/etc/passwd"},
        {"\"Cmd\":[\"true\"]", ",\"NetworkMode\":\"somewhere\"", DHOW_ERROR_INVALID_ARGUMENT, "somewhere"},
        {"\"Cmd\":[\"true\"]", ",\"Cgroup\":\"container:other\"", DHOW_ERROR_UNSUPPORTED, "Cgroup"},
        {"\"Cmd\":[\"true\"]", ",\"Memory\":-5", DHOW_ERROR_INVALID_ARGUMENT, "emory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char config[1024];
        snprintf(config, sizeof config, "{\"Image\":\"bb\",%s,\"HostConfig\":{%s%s}}", cases[i].cmd,
                 cases[i].host[0] == 0 ? "\"NetworkMode\":\"none\"" : cases[i].host + 1, "");
        dhow_run_result result;
        memset(&result, 0, sizeof result);
        result.struct_size = sizeof result;
        FAILS(dhow_run(engine, config, NULL, &result, &error), cases[i].status, cases[i].word);
        CHECK(result.id == NULL);
    }
    /* Nothing of them is left. */
    OK(dhow_container_list(engine, DHOW_LIST_ALL, NULL, &json, &error));
    CHECK(strcmp(json, "[]") == 0);
    dhow_string_free(json);
    const char *config = "{\"Image\":\"bb\",\"Cmd\":[\"true\"],\"HostConfig\":{\"NetworkMode\":\"none\"}}";
    OK(dhow_container_create(engine, "taken", config, &json, &error));
    dhow_string_free(json);
    FAILS(dhow_container_create(engine, "taken", config, &json, &error), DHOW_ERROR_CONFLICT, "taken");
    OK(dhow_container_remove(engine, "taken", 0, &error));
}

static void archives(dhow_engine *engine, const char *scratch, const char *rootfs, const char *archive)
{
    dhow_error *error = NULL;
    char path[4096], buffer[65536];
    FAILS(dhow_image_load_path(engine, rootfs, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "not an image archive");
    FAILS(dhow_image_load_path(engine, scratch, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "is a directory");
    /* Half an archive. */
    snprintf(path, sizeof path, "%s/half.tar", scratch);
    int from = open(archive, O_RDONLY | O_CLOEXEC), to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat stat;
    CHECK(from >= 0 && to >= 0 && fstat(from, &stat) == 0);
    for (off_t left = stat.st_size / 2; left > 0;) {
        ssize_t count = read(from, buffer, left < (off_t)sizeof buffer ? (size_t)left : sizeof buffer);
        CHECK(count > 0 && write(to, buffer, (size_t)count) == count);
        left -= count;
    }
    close(from);
    close(to);
    FAILS(dhow_image_load_path(engine, path, NULL, &error), DHOW_ERROR_CORRUPT, "");
    CHECK(unlink(path) == 0);
    dhow_import_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    const char *bad[] = {"JUMP high"};
    options.changes = bad;
    options.changes_count = 1;
    int fd = open(rootfs, O_RDONLY | O_CLOEXEC);
    FAILS(dhow_image_import_fd(engine, fd, &options, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "jump is not a valid change command");
    options.changes_count = 0;
    options.reference = "UPPER case";
    FAILS(dhow_image_import_fd(engine, fd, &options, NULL, &error), DHOW_ERROR_INVALID_ARGUMENT, "");
    close(fd);
}

static void following(dhow_engine *engine)
{
    dhow_error *error = NULL;
    dhow_events *events = NULL;
    char *json = NULL;
    dhow_events_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.since = "yesterday";
    FAILS(dhow_events_open(engine, &options, &events, &error), DHOW_ERROR_INVALID_ARGUMENT, "yesterday");
    options.since = "0";
    options.cursor = 1;
    FAILS(dhow_events_open(engine, &options, &events, &error), DHOW_ERROR_INVALID_ARGUMENT, "cursor");
    options.since = NULL;
    options.cursor = -1;
    FAILS(dhow_events_open(engine, &options, &events, &error), DHOW_ERROR_INVALID_ARGUMENT, "cursor is -1");
    FAILS(dhow_events_next(NULL, &json, &error), DHOW_ERROR_INVALID_ARGUMENT, "events is NULL");
}

int main(int argc, char **argv)
{
    CHECK(argc == 5);
    opening(argv[1]);
    dhow_engine *engine = open_engine(argv[1], argv[2]);
    import_image(engine, argv[3], "bb");
    arguments(engine);
    missing(engine);
    running(engine);
    starting(engine);
    archives(engine, argv[1], argv[3], argv[4]);
    following(engine);
    dhow_engine_close(engine);
    CHECK(dhow_status_name(12345) == NULL && strcmp(dhow_status_name(DHOW_END), "DHOW_END") == 0);
    printf("erred\n");
    return 0;
}
