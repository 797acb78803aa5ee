"""The specification of one call and a folder with NSS's database come in; the call is made with NSS, by a socket of NSPR."""

import json
import sys
import urllib.parse

import nss.io as io
import nss.nss
import nss.ssl as ssl

PIECE = 16384


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)["request"]
    nss.nss.nss_init(f"sql:{sys.argv[2]}")
    ssl.set_domestic_policy()
    url = urllib.parse.urlsplit(request["url"])
    address = next(iter(io.AddrInfo(url.hostname, family=io.PR_AF_INET)))
    address.port = 443
    connection = ssl.SSLSocket(address.family)
    connection.set_hostname(url.hostname)
    connection.connect(address, timeout=io.seconds_to_interval(30))
    connection.force_handshake()
    body = request["body"].encode()
    lines = [f"POST {url.path} HTTP/1.1", f"host: {url.hostname}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in request["headers"].items()]
    connection.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    connection.send(body)
    answer = b""
    while piece := connection.recv(PIECE):
        answer += piece
    connection.close()
    status = answer.split(b" ", 2)[1]
    if status != b"200":
        sys.exit(f"the answer has status {status.decode()}")


main()
