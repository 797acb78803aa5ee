"""A host comes in (argv 1); whether a new connection's ClientHello and a write on an open connection pass is asked again and
again; each change from the one to the other is told with its time, one line of JSON each, until standard input ends."""

import json
import socket
import ssl
import sys
import threading
import time

HOST = sys.argv[1]
CONTEXT = ssl.create_default_context()
LOCK = threading.Lock()


def tell(what, error, before_ns):
    """One line: what was tried, its error number, when the try began and when its answer was there."""
    with LOCK:
        print(json.dumps({"what": what, "errno": error, "began_ns": before_ns, "at_ns": time.monotonic_ns()}), flush=True)


def hello():
    """A ClientHello for the host."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = CONTEXT.wrap_bio(incoming, outgoing, server_hostname=HOST)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def new():
    """Connects, and says hello."""
    with socket.create_connection((HOST, 443), timeout=5) as stream:
        stream.sendall(hello())


class Ended(Exception):
    """The other side ended a handshake: neither a refusal nor a pass."""


class Opened:
    """A connection that is kept, and made anew when it was refused."""

    def __init__(self):
        self.stream = None

    def __call__(self):
        if self.stream is None:
            self.open()
        try:
            self.write(b"A: b\r\n")
        except OSError:
            self.stream.close()
            self.stream = None
            raise

    def open(self):
        """The records are sent by hand: the TLS library hides why it could not write."""
        stream = socket.create_connection((HOST, 443), timeout=5)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.connection = CONTEXT.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        while True:
            try:
                self.connection.do_handshake()
                break
            except ssl.SSLWantReadError:
                stream.sendall(self.outgoing.read())
                answer = stream.recv(65536)
                if not answer:
                    stream.close()
                    raise Ended from None
                self.incoming.write(answer)
        stream.sendall(self.outgoing.read())
        self.stream = stream
        self.write(b"GET / HTTP/1.1\r\n")

    def write(self, text):
        self.connection.write(text)
        self.stream.sendall(self.outgoing.read())


def watch(what, step):
    """Runs one step after the other and tells when it begins to fail, with the first error, and when it passes again."""
    last = None
    count = 0
    while True:
        began = time.monotonic_ns()
        try:
            step()
            error = 0
        except Ended:
            time.sleep(0.0005)
            continue
        except OSError as failed:
            error = failed.errno or -1
        if bool(error) != last:
            tell(what, error, began)
            last = bool(error)
        count += 1
        if error or count % 2000 == 0:
            # A head has a longest size: the kept connection is made anew in time.
            if isinstance(step, Opened) and step.stream is not None:
                step.stream.close()
                step.stream = None
        time.sleep(0.0005)


for name, work in (("new", new), ("open", Opened())):
    threading.Thread(target=watch, args=(name, work), daemon=True).start()
sys.stdin.read()
