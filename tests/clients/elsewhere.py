"""A file with an authority and hosts comes in (argv 1); for each host, how many segments with data a connection to it had sent
when the answer to its ClientHello came, goes out as a line. A ClientHello that was held back counts twice."""

import json
import socket
import ssl
import struct
import sys

# Where `tcpi_data_segs_out` stands (`struct tcp_info`, linux/tcp.h), and room for all before it and some behind.
SEGMENTS_AT, INFO_LEN = 156, 256


def segments(ca, host):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=ca)
    tls = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with socket.create_connection((host, 443), timeout=60) as stream:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        stream.sendall(outgoing.read())
        stream.recv(65536)
        info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_LEN)
        return struct.unpack_from("=I", info, SEGMENTS_AT)[0]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    for host in spec["hosts"]:
        print(segments(spec["ca"], host), flush=True)
    # The process stays until it is told to go, so that nobody need ask who it was.
    sys.stdin.read()


main()
