"""A file with steps comes in (argv 1), each a connection: which address, which names, how its ClientHello is cut; the outcome
of each goes out as one line of JSON. Records are sent by hand, so that a step decides where each segment ends."""

import json
import socket
import ssl
import sys

HANDSHAKE, RECORD_HEAD = 22, 5


def context(ca):
    made = ssl.create_default_context(cafile=ca)
    # The names are odd on purpose; what counts is what leaves.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def message_of(records):
    """The handshake bytes inside of records."""
    message, at = b"", 0
    while at < len(records):
        length = int.from_bytes(records[at + 3:at + RECORD_HEAD], "big")
        message += records[at + RECORD_HEAD:at + RECORD_HEAD + length]
        at += RECORD_HEAD + length
    return message


def in_records(message, size):
    """Handshake bytes in records of a size."""
    parts = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(bytes([HANDSHAKE, 3, 1]) + len(part).to_bytes(2, "big") + part for part in parts)


def with_encrypted_hello(message):
    """The hello with an encrypted one inside, as far as anybody on the way can tell."""
    inner = bytes([0, 0, 1, 0, 1, 7, 0, 32]) + bytes(32) + (128).to_bytes(2, "big") + bytes(128)
    extension = bytes([0xfe, 0x0d]) + len(inner).to_bytes(2, "big") + inner
    at = 4 + 2 + 32
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at:at + 2], "big")
    at += 1 + message[at]
    length = int.from_bytes(message[at:at + 2], "big") + len(extension)
    body = message[4:at] + length.to_bytes(2, "big") + message[at + 2:] + extension
    return message[:1] + len(body).to_bytes(3, "big") + body


def pieces(step, hello):
    """The segments in which a ClientHello leaves."""
    if step.get("encrypted"):
        hello = in_records(with_encrypted_hello(message_of(hello)), 16384)
    cut = step.get("cut", "whole")
    if cut == "whole":
        return [hello]
    if cut == "records":
        return [in_records(message_of(hello), 40)]
    if cut == "bytes":
        return [hello[at:at + 1] for at in range(len(hello))]
    at = int(cut)
    return [hello[:at], hello[at:]]


def request(step):
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": step["prompt"]}]})
    return (f"POST /v1/chat/completions HTTP/1.1\r\nhost: {step['authority']}\r\n"
            f"authorization: Bearer {step['key']}\r\ncontent-type: application/json\r\n"
            f"x-lab-scenario: {step['scenario']}\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\n\r\n{body}").encode()


def writes(step):
    """What is said: the parts that the step gives, or a request."""
    given = step.get("writes")
    return [text.encode("latin-1") for text in given] if given else [request(step)]


def talk(step, stream, tls, incoming, outgoing):
    """Brings the handshake to its end, asks, and gives the status of the answer."""
    def pump(call):
        while True:
            try:
                result = call()
                stream.sendall(outgoing.read())
                return result
            except ssl.SSLWantReadError:
                stream.sendall(outgoing.read())
                heard = stream.recv(65536)
                if not heard:
                    raise ConnectionResetError("the server has closed")
                incoming.write(heard)
    pump(tls.do_handshake)
    for part in writes(step):
        pump(lambda: tls.write(part))
    answer = pump(lambda: tls.read(65536))
    return int(answer.split(b" ", 2)[1])


def tcp(step):
    stream = socket.create_connection((step["address"], 443), timeout=60)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(step["ca"]).wrap_bio(incoming, outgoing, server_hostname=step["name"] or None)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    for piece in pieces(step, outgoing.read()):
        stream.sendall(piece)
    with stream:
        if step.get("hello_only"):
            # The server refuses what it cannot decrypt, or closes.
            stream.recv(65536)
            return 0
        return talk(step, stream, tls, incoming, outgoing)


def quic(step):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        if step.get("connects", True):
            stream.connect((step["address"], 443))
        else:
            for datagram in step["datagrams"]:
                stream.sendto(bytes(datagram), (step["address"], 443))
            return 0
        for datagram in step["datagrams"]:
            try:
                stream.send(bytes(datagram))
            except ConnectionRefusedError:
                # Nobody listens there, as the answer to an earlier one says.
                stream.send(bytes(datagram))
    return 0


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        steps = json.load(file)
    for step in steps:
        try:
            outcome = {"status": (quic if "datagrams" in step else tcp)(step)}
        except OSError as error:
            outcome = {"errno": error.errno or -1, "error": str(error)}
        print(json.dumps(outcome), flush=True)
    # The process stays until it is told to go, so that nobody need ask who it was.
    sys.stdin.read()


if __name__ == "__main__":
    main()
