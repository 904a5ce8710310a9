"""The first two messages of SCTP by raw sockets, so that the kernel needs no SCTP of its own.

sctp.py serve PORT: answers every INIT, and says who sent it.
sctp.py ask ADDRESS PORT: sends INIT until it is answered.
"""

import socket
import struct
import sys

INIT, INIT_ACK = 1, 2
TAG = 7


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def packet(source, target, tag, kind):
    head = struct.pack("!HHI", source, target, tag)
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20, TAG, 65536, 1, 1, 1)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def parse(data):
    body = data[(data[0] & 15) * 4:]
    source, target, _ = struct.unpack("!HHI", body[:8])
    whole = crc32c(body[:8] + bytes(4) + body[12:]) == struct.unpack("<I", body[8:12])[0]
    return source, target, body[12], whole


def main():
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
    if sys.argv[1] == "serve":
        print("ready", flush=True)
        while True:
            data, (client, _) = raw.recvfrom(2048)
            source, target, kind, whole = parse(data)
            if kind == INIT and whole and target == int(sys.argv[2]):
                print("from", client, flush=True)
                raw.sendto(packet(target, source, TAG, INIT_ACK), (client, 0))
    server, port = sys.argv[2], int(sys.argv[3])
    raw.settimeout(1)
    for _ in range(5):
        raw.sendto(packet(5000, port, 0, INIT), (server, 0))
        try:
            while True:
                data, (sender, _) = raw.recvfrom(2048)
                if (sender, *parse(data)) == (server, port, 5000, INIT_ACK, True):
                    print("answered")
                    return
        except TimeoutError:
            continue
    sys.exit("no answer")


main()
