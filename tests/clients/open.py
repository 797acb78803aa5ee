"""A file with an authority, a key and a prompt comes in (argv 1); one call is made over a connection that stays open until a
line comes on standard input. The status of the answer goes out once it is there."""

import json
import socket
import ssl
import sys

HOST = "api.openai.com"


def request(spec):
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": spec["prompt"]}]})
    return (f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {spec['key']}\r\n"
            f"content-type: application/json\r\nx-lab-scenario: id=open\r\ncontent-length: {len(body)}\r\n"
            f"\r\n{body}").encode()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    context = ssl.create_default_context(cafile=spec["ca"])
    plain = socket.create_connection((HOST, 443), timeout=60)
    with context.wrap_socket(plain, server_hostname=HOST) as secured:
        secured.sendall(request(spec))
        print(int(secured.recv(65536).split(b" ", 2)[1]), flush=True)
        sys.stdin.readline()
    # The process stays until it is told to go, so that nobody need ask who it was.
    sys.stdin.read()


main()
