/*
 * Runs a command in a new container, shows its output, and exits as it does:
 *
 *     cc run.c $(pkg-config --cflags --libs dhow) -o run
 *     ./run debian:12 sh -c 'echo hello from $(hostname)'
 */
#include <dhow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends text as a JSON string. */
static void append(char *json, size_t size, const char *text)
{
    size_t at = strlen(json);
    if (at + 2 < size)
        json[at++] = '"';
    for (; *text != 0 && at + 8 < size; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20)
            at += (size_t)snprintf(json + at, size - at, "\\u%04x", byte);
        else {
            if (byte == '"' || byte == '\\')
                json[at++] = '\\';
            json[at++] = (char)byte;
        }
    }
    json[at++] = '"';
    json[at] = 0;
}

static int32_t show(void *user_data, uint32_t stream, const void *data, size_t length)
{
    (void)user_data;
    return fwrite(data, 1, length, stream == DHOW_STREAM_STDERR ? stderr : stdout) == length ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s IMAGE [COMMAND...]\n", argv[0]);
        return 2;
    }
    char config[16384] = "{\"HostConfig\":{\"NetworkMode\":\"none\"},\"Image\":";
    append(config, sizeof config, argv[1]);
    strcat(config, ",\"Cmd\":[");
    for (int i = 2; i < argc; i++) {
        append(config, sizeof config - 8, argv[i]);
        strcat(config, i + 1 < argc ? "," : "");
    }
    strcat(config, "]}");

    dhow_error *error = NULL;
    dhow_engine *engine = NULL;
    dhow_engine_options where;
    memset(&where, 0, sizeof where);
    where.struct_size = sizeof where;
    where.root = getenv("DHOW_ROOT");
    where.state = getenv("DHOW_STATE");
    dhow_run_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.on_output = show;
    dhow_run_result result;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;

    dhow_status status = dhow_engine_open(&where, &engine, &error);
    if (status == DHOW_OK)
        status = dhow_run(engine, config, &options, &result, &error);
    int code = result.exit_code;
    if (status != DHOW_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], dhow_error_message(error));
        code = status == DHOW_ERROR_COMMAND_NOT_FOUND ? 127 : status == DHOW_ERROR_COMMAND_NOT_EXECUTABLE ? 126 : 125;
    }
    dhow_error_free(error);
    dhow_run_result_clear(&result);
    dhow_engine_close(engine);
    return code;
}
