package dhow

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What the test's caller has prepared.
func variable(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: these tests are run by `cargo xtask test -p dhow-ffi`", name)
	}
	return value
}

func engine(t *testing.T) *Engine {
	t.Helper()
	opened, err := Open(Options{Root: variable(t, "DHOW_TEST_ROOT"), State: variable(t, "DHOW_TEST_STATE")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	tar, err := os.Open(variable(t, "DHOW_TEST_ROOTFS"))
	if err != nil {
		t.Fatal(err)
	}
	defer tar.Close()
	if _, err := opened.Import(tar, "bb"); err != nil {
		t.Fatal(err)
	}
	return opened
}

func config(script, more string) string {
	return fmt.Sprintf(`{"Image":"bb","Cmd":["sh","-c",%q],"HostConfig":{"NetworkMode":"none"}%s}`, script, more)
}

// Waits by epoll until a descriptor is readable.
func await(t *testing.T, fd int) {
	t.Helper()
	poller, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(poller)
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if err := syscall.EpollCtl(poller, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		t.Fatal(err)
	}
	ready := make([]syscall.EpollEvent, 1)
	for {
		count, err := syscall.EpollWait(poller, ready, 60_000)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || count != 1 {
			t.Fatalf("epoll: %d, %v", count, err)
		}
		return
	}
}

func all(t *testing.T, file *os.File) string {
	t.Helper()
	bytes, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes)
}

func TestWalk(t *testing.T) {
	e := engine(t)
	images, err := e.Images("")
	if err != nil || !strings.Contains(images, "bb:latest") {
		t.Fatal(images, err)
	}
	events, err := e.Events(`{"event":["die"]}`)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()

	id, err := e.Create("walker", config("echo out; read x; echo got $x; exit 7", `,"OpenStdin":true,"StdinOnce":true`))
	if err != nil {
		t.Fatal(err)
	}
	process, err := e.Start(id, Stdin|Stdout|Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	inspected, err := e.Inspect("walker")
	if err != nil || !strings.Contains(inspected, fmt.Sprintf(`"Pid":%d`, process.Pid)) {
		t.Fatal(inspected, err)
	}

	session, inner, err := e.Exec(id, `{"Cmd":["sh","-c","echo hello from exec; exit 5"]}`, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if out := all(t, inner.Stdout); out != "hello from exec\n" {
		t.Errorf("exec wrote %q", out)
	}
	await(t, int(inner.Pidfd.Fd()))
	if code, err := e.WaitExec(session, time.Minute); err != nil || code != 5 {
		t.Error(code, err)
	}
	inner.Close()

	fmt.Fprintln(process.Stdin, "world")
	process.Stdin.Close()
	if out := all(t, process.Stdout); out != "out\ngot world\n" {
		t.Errorf("the container wrote %q", out)
	}
	await(t, int(process.Pidfd.Fd()))
	if code, err := e.Wait(id, time.Minute); err != nil || code != 7 {
		t.Error(code, err)
	}
	logs, err := e.Logs(id, Stdout)
	if err != nil || string(logs) != "out\ngot world\n" {
		t.Errorf("%q %v", logs, err)
	}
	await(t, events.Fd())
	event, err := events.Next()
	if err != nil || !strings.Contains(event, id) || !strings.Contains(event, `"exitCode":"7"`) {
		t.Error(event, err)
	}
	if event, err := events.Next(); err != nil || event != "" {
		t.Error(event, err)
	}
	if err := e.Remove(id, false); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	e := engine(t)
	_, err := e.Inspect("nobody")
	var failed *Error
	if !errors.As(err, &failed) || failed.Status != NotFound || failed.Error() != "No such container: nobody" {
		t.Error(err)
	}
	if _, err := e.Create("", "{"); !errors.As(err, &failed) || failed.Status != InvalidArgument {
		t.Error(err)
	}
	if _, err := e.Run(`{"Image":"bb","Cmd":["nonesuch"],"HostConfig":{"NetworkMode":"none"}}`, nil, 0); !errors.As(err,
		&failed) || failed.Status != CommandNotFound {
		t.Error(err)
	}
	if _, err := e.Run(config("sleep 1000", ""), nil, 200*time.Millisecond); !errors.As(err, &failed) ||
		failed.Status != Timeout {
		t.Error(err)
	}
	if _, err := Open(Options{Helper: "/bin/true"}); !errors.As(err, &failed) || failed.Status != Unsupported {
		t.Error(err)
	}
}

// Go's runtime is a host with many threads and signal handlers of its own, and os/exec waits for its children.
func TestManyAtOnce(t *testing.T) {
	e := engine(t)
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			result, err := e.Run(config(fmt.Sprintf("cat; exit %d", i), ""), []byte(fmt.Sprint("input ", i)), time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			if result.ExitCode != i || string(result.Stdout) != fmt.Sprint("input ", i) {
				t.Errorf("%d: %d, %q, %q", i, result.ExitCode, result.Stdout, result.Stderr)
			}
			if out, err := exec.Command("echo", "child").Output(); err != nil || string(out) != "child\n" {
				t.Errorf("%q %v", out, err)
			}
		}(i)
	}
	group.Wait()
}

func TestKill(t *testing.T) {
	e := engine(t)
	id, err := e.Create("", config("sleep 1000", ""))
	if err != nil {
		t.Fatal(err)
	}
	process, err := e.Start(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if err := e.Signal(id, int(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	await(t, int(process.Pidfd.Fd()))
	if code, err := e.Wait(id, time.Minute); err != nil || code != 137 {
		t.Error(code, err)
	}
	if err := e.Remove(id, true); err != nil {
		t.Error(err)
	}
}
