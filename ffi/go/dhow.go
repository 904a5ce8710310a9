// Package dhow runs containers without a daemon, through libdhow.
//
// An Engine is all there is; containers live on when the program ends. Structured data is JSON with Docker's names,
// as text: encoding/json and Docker's own types fit. Processes come with a pidfd and with files to read and write.
//
// It finds libdhow by pkg-config: `PKG_CONFIG_PATH=PREFIX/lib/pkgconfig go build`.
package dhow

// #cgo pkg-config: dhow
// #include <dhow.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/json"
	"os"
	"runtime"
	"time"
	"unsafe"
)

// Status says what went wrong, by the numbers of dhow.h.
type Status int32

// The statuses that a caller may want to tell apart.
const (
	InvalidArgument      Status = C.DHOW_ERROR_INVALID_ARGUMENT
	NotFound             Status = C.DHOW_ERROR_NOT_FOUND
	Conflict             Status = C.DHOW_ERROR_CONFLICT
	NotModified          Status = C.DHOW_ERROR_NOT_MODIFIED
	Forbidden            Status = C.DHOW_ERROR_FORBIDDEN
	Unauthorized         Status = C.DHOW_ERROR_UNAUTHORIZED
	Unsupported          Status = C.DHOW_ERROR_UNSUPPORTED
	CommandNotFound      Status = C.DHOW_ERROR_COMMAND_NOT_FOUND
	CommandNotExecutable Status = C.DHOW_ERROR_COMMAND_NOT_EXECUTABLE
	StartFailed          Status = C.DHOW_ERROR_START_FAILED
	Corrupt              Status = C.DHOW_ERROR_CORRUPT
	Unavailable          Status = C.DHOW_ERROR_UNAVAILABLE
	Internal             Status = C.DHOW_ERROR_INTERNAL
	Timeout              Status = C.DHOW_ERROR_TIMEOUT
	Cancelled            Status = C.DHOW_ERROR_CANCELLED
	Panic                Status = C.DHOW_ERROR_PANIC
)

// Error is what every failing call returns.
type Error struct {
	Status  Status
	Message string
	// Errno is what the operating system said, or 0.
	Errno int
}

func (e *Error) Error() string { return e.Message }

// taken turns what a call left into an error, and frees it.
func taken(status C.dhow_status, failed *C.dhow_error) error {
	if status == C.DHOW_OK {
		return nil
	}
	defer C.dhow_error_free(failed)
	return &Error{Status(status), C.GoString(C.dhow_error_message(failed)), int(C.dhow_error_errno(failed))}
}

// text copies a text that the library handed out, and frees it.
func text(from *C.char) string {
	defer C.dhow_string_free(from)
	return C.GoString(from)
}

// cstrings are texts for the time of one call.
type cstrings []*C.char

// of copies a text; an empty one is NULL.
func (s *cstrings) of(from string) *C.char {
	if from == "" {
		return nil
	}
	return s.always(from)
}

// always copies a text, an empty one too.
func (s *cstrings) always(from string) *C.char {
	made := C.CString(from)
	*s = append(*s, made)
	return made
}

func (s *cstrings) free() {
	for _, made := range *s {
		C.free(unsafe.Pointer(made))
	}
}

// Options say where an engine keeps its things; empty means the default.
type Options struct {
	Root, State, Helper string
}

// Engine is an open engine. Its methods may be called from any goroutine.
type Engine struct{ handle *C.dhow_engine }

// Version is that of the library.
func Version() string { return C.GoString(C.dhow_version()) }

// Open opens an engine. Close it.
func Open(options Options) (*Engine, error) {
	var texts cstrings
	defer texts.free()
	var where C.dhow_engine_options
	where.struct_size = C.sizeof_dhow_engine_options
	where.root, where.state, where.helper = texts.of(options.Root), texts.of(options.State), texts.of(options.Helper)
	var failed *C.dhow_error
	engine := &Engine{}
	if err := taken(C.dhow_engine_open(&where, &engine.handle, &failed), failed); err != nil {
		return nil, err
	}
	return engine, nil
}

// Close closes the engine. No other call may be under way.
func (e *Engine) Close() {
	C.dhow_engine_close(e.handle)
	e.handle = nil
}

// Load loads every image of an archive, and returns [{"Id":…,"RepoTags":[…]}].
func (e *Engine) Load(archive *os.File) (string, error) {
	var failed *C.dhow_error
	var out *C.char
	status := C.dhow_image_load_fd(e.handle, C.int32_t(archive.Fd()), &out, &failed)
	runtime.KeepAlive(archive)
	if err := taken(status, failed); err != nil {
		return "", err
	}
	return text(out), nil
}

// Import makes an image called reference of a root filesystem's tar, and returns its id.
func (e *Engine) Import(tar *os.File, reference string) (string, error) {
	var texts cstrings
	defer texts.free()
	var options C.dhow_import_options
	options.struct_size = C.sizeof_dhow_import_options
	options.reference = texts.of(reference)
	var failed *C.dhow_error
	var id *C.char
	status := C.dhow_image_import_fd(e.handle, C.int32_t(tar.Fd()), &options, &id, &failed)
	runtime.KeepAlive(tar)
	if err := taken(status, failed); err != nil {
		return "", err
	}
	return text(id), nil
}

// Images is the body of Docker's GET /images/json.
func (e *Engine) Images(filters string) (string, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var out *C.char
	if err := taken(C.dhow_image_list(e.handle, texts.of(filters), &out, &failed), failed); err != nil {
		return "", err
	}
	return text(out), nil
}

// Create makes a container of the body of Docker's POST /containers/create, and returns its id.
func (e *Engine) Create(name, config string) (string, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var out *C.char
	status := C.dhow_container_create(e.handle, texts.of(name), texts.always(config), &out, &failed)
	if err := taken(status, failed); err != nil {
		return "", err
	}
	var created struct{ Id string }
	if err := json.Unmarshal([]byte(text(out)), &created); err != nil {
		return "", err
	}
	return created.Id, nil
}

// Streams say which streams of a process to hold.
type Streams uint32

const (
	Stdin  Streams = C.DHOW_STREAM_STDIN
	Stdout Streams = C.DHOW_STREAM_STDOUT
	Stderr Streams = C.DHOW_STREAM_STDERR
)

// Process is a process in a container. Its files are the caller's to close, all of them with Close.
type Process struct {
	Pid int
	// Pidfd can be polled: it is readable when the process has ended.
	Pidfd                 *os.File
	Stdin, Stdout, Stderr *os.File
}

// Close closes what is still open. The process lives on.
func (p *Process) Close() {
	for _, file := range []*os.File{p.Pidfd, p.Stdin, p.Stdout, p.Stderr} {
		if file != nil {
			file.Close()
		}
	}
}

func process(from *C.dhow_process) *Process {
	file := func(fd C.int32_t, name string) *os.File {
		if fd < 0 {
			return nil
		}
		return os.NewFile(uintptr(fd), name)
	}
	return &Process{
		Pid:    int(from.pid),
		Pidfd:  file(from.pidfd, "pidfd"),
		Stdin:  file(from.stdin_fd, "stdin"),
		Stdout: file(from.stdout_fd, "stdout"),
		Stderr: file(from.stderr_fd, "stderr"),
	}
}

// Start starts a container.
func (e *Engine) Start(container string, streams Streams) (*Process, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var made C.dhow_process
	made.struct_size = C.sizeof_dhow_process
	status := C.dhow_container_start(e.handle, texts.always(container), C.uint32_t(streams), &made, &failed)
	if err := taken(status, failed); err != nil {
		return nil, err
	}
	return process(&made), nil
}

// Exec runs another process in a running container, of the body of Docker's POST /containers/ID/exec. It returns
// the session's id and the process.
func (e *Engine) Exec(container, config string, streams Streams) (string, *Process, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var id *C.char
	var made C.dhow_process
	made.struct_size = C.sizeof_dhow_process
	status := C.dhow_container_exec(e.handle, texts.always(container), texts.always(config), C.uint32_t(streams), &made,
		&id, &failed)
	if err := taken(status, failed); err != nil {
		return "", nil, err
	}
	return text(id), process(&made), nil
}

// milliseconds of a limit; a negative one is none.
func milliseconds(limit time.Duration) C.int64_t {
	if limit < 0 {
		return -1
	}
	return C.int64_t(limit.Milliseconds())
}

// Wait waits until a container does not run, and returns its exit code. A negative limit is none.
func (e *Engine) Wait(container string, limit time.Duration) (int, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var code C.int32_t
	status := C.dhow_container_wait(e.handle, texts.always(container), C.DHOW_WAIT_NOT_RUNNING, milliseconds(limit), &code,
		&failed)
	return int(code), taken(status, failed)
}

// WaitExec waits for the end of an exec session, and returns its exit code. A negative limit is none.
func (e *Engine) WaitExec(id string, limit time.Duration) (int, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var code C.int32_t
	status := C.dhow_exec_wait(e.handle, texts.always(id), milliseconds(limit), &code, &failed)
	return int(code), taken(status, failed)
}

// Signal sends a signal to a container's first process.
func (e *Engine) Signal(container string, signal int) error {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	return taken(C.dhow_container_signal(e.handle, texts.always(container), C.int32_t(signal), &failed), failed)
}

// Inspect is the body of Docker's GET /containers/ID/json.
func (e *Engine) Inspect(container string) (string, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var out *C.char
	if err := taken(C.dhow_container_inspect(e.handle, texts.always(container), &out, &failed), failed); err != nil {
		return "", err
	}
	return text(out), nil
}

// Logs is what a container has written so far to the streams.
func (e *Engine) Logs(container string, streams Streams) ([]byte, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var options C.dhow_logs_options
	options.struct_size = C.sizeof_dhow_logs_options
	options.streams = C.uint32_t(streams)
	var logs *C.dhow_logs
	if err := taken(C.dhow_container_logs(e.handle, texts.always(container), &options, &logs, &failed), failed); err != nil {
		return nil, err
	}
	defer C.dhow_logs_close(logs)
	var written []byte
	var entry C.dhow_log_entry
	entry.struct_size = C.sizeof_dhow_log_entry
	for {
		switch status := C.dhow_logs_next(logs, &entry, &failed); status {
		case C.DHOW_OK:
			written = append(written, unsafe.Slice((*byte)(unsafe.Pointer(entry.data)), int(entry.length))...)
		case C.DHOW_END:
			return written, nil
		default:
			return nil, taken(status, failed)
		}
	}
}

// Remove removes a container; with force one that runs, too.
func (e *Engine) Remove(container string, force bool) error {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	flags := C.uint32_t(C.DHOW_REMOVE_VOLUMES)
	if force {
		flags |= C.DHOW_REMOVE_FORCE
	}
	return taken(C.dhow_container_remove(e.handle, texts.always(container), flags, &failed), failed)
}

// Result is what became of a container that was run.
type Result struct {
	ExitCode       int
	Stdout, Stderr []byte
}

// Run creates, starts, feeds, reads, waits for and removes a container. A nil stdin means that it has none; a limit
// of zero means none.
func (e *Engine) Run(config string, stdin []byte, limit time.Duration) (*Result, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	options := (*C.dhow_run_options)(C.calloc(1, C.sizeof_dhow_run_options))
	defer C.free(unsafe.Pointer(options))
	options.struct_size = C.sizeof_dhow_run_options
	options.timeout_ms = C.uint32_t(limit.Milliseconds())
	if stdin != nil {
		input := C.CBytes(stdin)
		defer C.free(input)
		options.stdin_data, options.stdin_length = input, C.size_t(len(stdin))
	}
	var result C.dhow_run_result
	result.struct_size = C.sizeof_dhow_run_result
	defer C.dhow_run_result_clear(&result)
	if err := taken(C.dhow_run(e.handle, texts.always(config), options, &result, &failed), failed); err != nil {
		return nil, err
	}
	return &Result{
		ExitCode: int(result.exit_code),
		Stdout:   C.GoBytes(unsafe.Pointer(result.stdout_data), C.int(result.stdout_length)),
		Stderr:   C.GoBytes(unsafe.Pointer(result.stderr_data), C.int(result.stderr_length)),
	}, nil
}

// Events are the engine's events, from when they were opened on.
type Events struct{ handle *C.dhow_events }

// Events begins to follow events, by Docker's filters.
func (e *Engine) Events(filters string) (*Events, error) {
	var texts cstrings
	defer texts.free()
	var failed *C.dhow_error
	var options C.dhow_events_options
	options.struct_size = C.sizeof_dhow_events_options
	options.filters = texts.of(filters)
	events := &Events{}
	if err := taken(C.dhow_events_open(e.handle, &options, &events.handle, &failed), failed); err != nil {
		return nil, err
	}
	return events, nil
}

// Fd can be polled: it is readable when there may be events. It belongs to the stream.
func (s *Events) Fd() int { return int(C.dhow_events_fd(s.handle)) }

// Next is the next event as JSON, or "" when there is none now.
func (s *Events) Next() (string, error) {
	var failed *C.dhow_error
	var out *C.char
	status := C.dhow_events_next(s.handle, &out, &failed)
	if status == C.DHOW_AGAIN {
		return "", nil
	}
	if err := taken(status, failed); err != nil {
		return "", err
	}
	return text(out), nil
}

// Close ends the stream.
func (s *Events) Close() {
	C.dhow_events_close(s.handle)
	s.handle = nil
}
