/*
 * A trace of one container, while another does the same.
 *
 *     trace ROOT STATE ROOTFS.tar
 */
#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    dhow_error *error = NULL;
    dhow_engine *engine = open_engine(argv[1], argv[2]);
    import_image(engine, argv[3], "bb");
    char traced[65], neighbour[65];
    const char *script = "cat /etc/passwd /etc/nonesuch; exit 3";
    create(engine, script, "", "", traced);
    create(engine, script, "", "", neighbour);

    dhow_trace_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    dhow_trace *trace = NULL;
    options.kinds = "sneeze";
    FAILS(dhow_trace_open(engine, &options, &trace, &error), DHOW_ERROR_INVALID_ARGUMENT, "sneeze");
    CHECK(trace == NULL);
    options.kinds = NULL;
    const char *missing[] = {"nobody"};
    options.containers = missing;
    options.containers_count = 1;
    FAILS(dhow_trace_open(engine, &options, &trace, &error), DHOW_ERROR_NOT_FOUND, "nobody");

    const char *containers[] = {traced};
    options.containers = containers;
    options.kinds = "exec,exit,open";
    options.flags = DHOW_TRACE_UNTIL_EXIT;
    OK(dhow_trace_open(engine, &options, &trace, &error));
    int fd = dhow_trace_fd(trace);
    CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    char *json = NULL;
    CHECK(dhow_trace_next(trace, &json, &error) == DHOW_AGAIN && json == NULL);
    OK(dhow_container_start(engine, neighbour, 0, NULL, &error));
    OK(dhow_container_start(engine, traced, 0, NULL, &error));
    int execs = 0, absent = 0, exits = 0, end = 0;
    dhow_status status;
    while ((status = dhow_trace_next(trace, &json, &error)) != DHOW_END) {
        if (status == DHOW_AGAIN) {
            await_readable(fd);
            continue;
        }
        CHECK(status == DHOW_OK && error == NULL);
        CHECK(strstr(json, neighbour) == NULL);
        execs += strstr(json, "\"kind\":\"exec\"") != NULL && strstr(json, "\"cat\",\"/etc/passwd\"") != NULL;
        absent += strstr(json, "/etc/nonesuch") != NULL && strstr(json, "\"error\":\"ENOENT\"") != NULL;
        exits += strstr(json, "\"kind\":\"exit\"") != NULL && strstr(json, "\"code\":3") != NULL;
        end += strstr(json, "\"kind\":\"end\"") != NULL;
        dhow_string_free(json);
    }
    CHECK(execs == 1 && absent == 1 && exits == 1 && end == 1);
    dhow_trace_close(trace);
    dhow_trace_close(NULL);
    OK(dhow_container_wait(engine, traced, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, NULL, &error));
    OK(dhow_container_wait(engine, neighbour, DHOW_WAIT_NOT_RUNNING, PATIENCE_MS, NULL, &error));
    OK(dhow_container_remove(engine, traced, 0, &error));
    OK(dhow_container_remove(engine, neighbour, 0, &error));
    dhow_engine_close(engine);
    printf("traced\n");
    return 0;
}
