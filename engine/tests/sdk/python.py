"""PyPI's docker against a server at DOCKER_HOST: what its users do all day. Says "done" at its end."""

import io
import sys
import tarfile
import threading

import docker

rounds = int(sys.argv[1])
client = docker.from_env()
assert client.ping()

# run: output, exit codes, removal.
assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    raise AssertionError("no ContainerError")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and error.stderr == b"bad\n", error

box = client.containers.run("busybox", ["sh", "-c", "echo started; cat"], detach=True, stdin_open=True, name="box", labels={"a": "b"})
assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["box"]

# exec: all output, each time; both streams apart; input; a terminal.
for n in range(rounds):
    code, output = box.exec_run(["echo", "hello"])
    assert (code, output) == (0, b"hello\n"), (n, code, output)
code, (out, err) = box.exec_run(["sh", "-c", "echo o; echo e >&2; exit 4"], demux=True)
assert (code, out, err) == (4, b"o\n", b"e\n"), (code, out, err)
assert box.exec_run(["echo", "hi"], tty=True).output == b"hi\r\n"
session = client.api.exec_create("box", ["wc", "-c"], stdin=True)["Id"]
channel = client.api.exec_start(session, socket=True)._sock
channel.sendall(b"12345")
channel.shutdown(1)
answer = b""
while piece := channel.recv(4096):
    answer += piece
assert answer == b"\x01\0\0\0\0\0\0\x025\n", answer
assert client.api.exec_inspect(session)["ExitCode"] == 0

# attach: input and output of the first process.
channel = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})._sock
channel.sendall(b"typed\n")
assert channel.recv(4096)[8:] == b"typed\n"
channel.close()

# logs: whole, the end of them, followed.
assert box.logs() == b"started\ntyped\n"
assert box.logs(tail=1) == b"typed\n"
seen = []
follower = threading.Thread(target=lambda: seen.extend(box.logs(stream=True, follow=True)))
follower.start()

# archives: in, out.
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as tar:
    entry = tarfile.TarInfo("note")
    entry.size = 5
    tar.addfile(entry, io.BytesIO(b"words"))
assert box.put_archive("/tmp", packed.getvalue())
stream, stat = box.get_archive("/tmp/note")
assert stat["name"] == "note" and stat["size"] == 5, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
    assert tar.extractfile("note").read() == b"words"

# events: filtered, ended by the client.
events = client.events(decode=True, filters={"container": "box", "event": ["kill", "die"]})
heard = []


def listen():
    for event in events:
        heard.append(event["Action"])
        if event["Action"] == "die":
            return


listener = threading.Thread(target=listen)
listener.start()
box.kill()
listener.join(60)
follower.join(60)
assert heard == ["kill", "die"], heard
assert b"".join(seen) == b"started\ntyped\n", seen
assert box.wait()["StatusCode"] == 137
box.remove()

# networks and volumes.
network = client.networks.create("sdk-net", driver="bridge", internal=True)
volume = client.volumes.create("sdk-volume", labels={"x": "y"})
one = client.containers.run(
    "busybox",
    ["sh", "-c", "echo kept > /v/file; sleep 1000"],
    detach=True,
    network="sdk-net",
    volumes={"sdk-volume": {"bind": "/v", "mode": "rw"}},
)
assert "sdk-net" in client.containers.get(one.id).attrs["NetworkSettings"]["Networks"]
network.disconnect(one)
network.connect(one, aliases=["other"])
one.remove(force=True)
assert client.containers.run("busybox", ["cat", "/v/file"], volumes=["sdk-volume:/v"], remove=True) == b"kept\n"
network.remove()
volume.remove()

# kill, then rm: the end has come when kill returns.
for _ in range(rounds):
    one = client.containers.run("busybox", ["sleep", "1000"], detach=True, network_mode="none")
    one.kill()
    one.remove()
print("done")
