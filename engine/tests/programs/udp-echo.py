"""Sends every datagram back to its sender, with the sender's address before it. udp-echo.py PORT."""

import socket
import sys

server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, client = server.recvfrom(65535)
    address = client[0].removeprefix("::ffff:")
    server.sendto(address.encode() + b" " + data, client)
