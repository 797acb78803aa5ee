"""A file with one way comes in (argv 1): how to get a request to a host past whoever forbids it; what came of it goes out as one
line of JSON. The process begins outside of the cgroup that is enforced, and enters it when its way says so."""

import ctypes
import json
import mmap
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

import around
import say

FAST_OPEN, ZERO_COPY, SO_ZEROCOPY, IPPROTO_MPTCP = 0x20000000, 0x4000000, 60, 262
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(spec):
    """Joins the cgroup."""
    with open(os.path.join(spec["cgroup"], "cgroup.procs"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def address(spec):
    return (spec["address"], spec.get("port", 443))


def connected(spec):
    return socket.create_connection(address(spec), timeout=20)


def begin(spec):
    """A TLS object that has said its hello, and the hello; a long one offers protocols that nobody has."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = spec["name"] or None
    context = say.context(spec["ca"])
    if spec.get("long"):
        context.set_alpn_protocols(["http/1.1"] + [f"{number:0250}" for number in range(20)])
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return tls, incoming, outgoing, outgoing.read()


def finish(spec, stream, begun):
    tls, incoming, outgoing, _ = begun
    stream.settimeout(20)
    return {"status": say.talk(spec, stream, tls, incoming, outgoing)}


def talk(spec, stream, put=None):
    """Says hello by `put`, or by a plain write, and asks."""
    begun = begin(spec)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    (put or (lambda to, hello: to.sendall(hello)))(stream, begun[3])
    return finish(spec, stream, begun)


def plain(spec):
    enter(spec)
    return talk(spec, connected(spec))


def in_child(work):
    """Runs work in a child and gives what it says."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = work()
        except OSError as error:
            outcome = failed(error)
        os.write(theirs, json.dumps(outcome).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


def fork_after_connect(spec):
    enter(spec)
    stream = connected(spec)
    return in_child(lambda: talk(spec, stream))


def other_thread(spec):
    enter(spec)
    stream, outcome = connected(spec), {}

    def work():
        try:
            outcome.update(talk(spec, stream))
        except OSError as error:
            outcome.update(failed(error))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome


def handed(spec, ours_first, theirs_first):
    """One process connects and hands its socket to another, which asks."""
    near, far = socket.socketpair(socket.AF_UNIX)

    def asks():
        theirs_first()
        _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
        return talk(spec, socket.socket(fileno=descriptors[0]))
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ours_first()
            stream = connected(spec)
            socket.send_fds(near, [b"x"], [stream.fileno()])
            # The socket is the other one's alone from here on.
            stream.close()
        except OSError:
            near.close()
        os.close(told)
        os._exit(0)
    os.close(told)
    near.close()
    os.read(ready, 1)
    os.waitpid(child, 0)
    return asks()


def handed_within(spec):
    return handed(spec, lambda: enter(spec), lambda: enter(spec))


def handed_out(spec):
    return handed(spec, lambda: enter(spec), lambda: None)


def handed_in(spec):
    return handed(spec, lambda: None, lambda: enter(spec))


def made_before_joining(spec):
    stream = socket.socket()
    enter(spec)
    stream.settimeout(20)
    stream.connect(address(spec))
    return talk(spec, stream)


def connected_before_joining(spec):
    stream = connected(spec)
    enter(spec)
    return talk(spec, stream)


def connected_again(spec):
    """A connection to an allowed host, taken apart, and another one by the same socket."""
    enter(spec)
    stream = socket.socket()
    stream.settimeout(20)
    stream.connect((spec["allowed"], 443))
    # AF_UNSPEC takes a connection apart (connect(2)).
    LIBC.connect(stream.fileno(), struct.pack("H14x", 0), 16)
    stream.connect(address(spec))
    return talk(spec, stream)


def every_cut(spec):
    """The hello in two segments, at each byte; says how many were answered."""
    enter(spec)
    answered, errors, hello = 0, set(), begin(spec)[3]
    for at in range(1, len(hello)):
        with connected(spec) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                stream.sendall(hello[:at])
                stream.sendall(hello[at:])
                answered += bool(stream.recv(1))
            except OSError as error:
                errors.add(error.errno)
    return {"answered": answered, "tried": len(hello) - 1, "errno": max(errors, default=0)}


def in_pieces(cut):
    def way(spec):
        enter(spec)

        def put(stream, hello):
            for piece in say.pieces({"cut": cut}, hello):
                stream.sendall(piece)
        return talk(spec, connected(spec), put)
    return way


def slow_hello(spec):
    enter(spec)

    def put(stream, hello):
        stream.sendall(hello[:100])
        time.sleep(spec["slow"])
        stream.sendall(hello[100:])
    return talk(spec, connected(spec), put)


def in_vectors(spec):
    enter(spec)
    return talk(spec, connected(spec), lambda stream, hello: stream.sendmsg(
        [hello[at:at + 1] for at in range(len(hello))]))


def padded(message):
    """The hello with padding (RFC 7685) before all its other extensions."""
    at = 4 + 2 + 32
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at:at + 2], "big")
    at += 1 + message[at]
    padding = bytes([0, 21]) + (5000).to_bytes(2, "big") + bytes(5000)
    length = int.from_bytes(message[at:at + 2], "big") + len(padding)
    body = message[4:at] + length.to_bytes(2, "big") + padding + message[at + 2:]
    return message[:1] + len(body).to_bytes(3, "big") + body


def name_far_behind(spec):
    enter(spec)
    return talk(spec, connected(spec), lambda stream, hello: stream.sendall(
        say.in_records(padded(say.message_of(hello)), 16384)))


def of_no_version(spec):
    enter(spec)
    return talk(spec, connected(spec), lambda stream, hello: stream.sendall(
        hello[:2] + b"\0" + hello[3:]))


def of_any_version(spec):
    enter(spec)
    return talk(spec, connected(spec), lambda stream, hello: stream.sendall(
        hello[:1] + b"\0\0" + hello[3:]))


def in_records_of_any_version(spec):
    enter(spec)

    def put(stream, hello):
        message = say.message_of(hello)
        parts = [(b"\x16\3\5", message[:100]), (b"\x16\4\1", message[100:])]
        stream.sendall(b"".join(head + len(part).to_bytes(2, "big") + part for head, part in parts))
    return talk(spec, connected(spec), put)


def of_the_second_version(spec):
    """A ClientHello in the form of SSL 2.0 (RFC 5246, E.2), which offers TLS 1.2."""
    enter(spec)
    suites, challenge = b"\0\xc0\x2f\0\0\xff", os.urandom(32)
    lengths = struct.pack("!HHH", len(suites), 0, len(challenge))
    message = b"\1\3\3" + lengths + suites + challenge
    with connected(spec) as stream:
        stream.sendall(struct.pack("!H", 0x8000 | len(message)) + message)
        return {"answered": len(stream.recv(65536))}


def like_records(spec):
    """Messages of other protocols (MongoDB, MQTT), which begin with their length as records do; says how many arrived."""
    enter(spec)
    listener, arrived = socket.create_server(("127.0.0.1", 0)), 0
    for length in (*range(788, 792), 278, 384):
        for number in (1, 257, 70_000):
            message = struct.pack("<iiii", length, number, 0, 2013).ljust(length, b"x")
            with socket.create_connection(listener.getsockname(), timeout=20) as stream:
                stream.sendall(message)
                near, _ = listener.accept()
                with near:
                    arrived += near.recv(length, socket.MSG_WAITALL) == message
    # A ping of MQTT, whose two bytes may begin a hello of SSL 2.0, and behind it what looks like the type of a record: the
    # length of a subject.
    ping, message = b"\xc0\0", b"\x30\x1f\0\x16" + b"s" * 22 + b"message"
    with socket.create_connection(listener.getsockname(), timeout=20) as stream:
        stream.sendall(ping)
        stream.sendall(message)
        near, _ = listener.accept()
        with near:
            arrived += near.recv(len(ping + message), socket.MSG_WAITALL) == ping + message
    return {"answered": arrived}


def mapped_v4(spec):
    enter(spec)
    stream = socket.socket(socket.AF_INET6)
    stream.settimeout(20)
    stream.connect(("::ffff:" + spec["address"], 443))
    return talk(spec, stream)


def copied(spec, make):
    """Has another executable do it, which is a copy of this one."""
    enter(spec)
    program = os.path.realpath(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        path, close = make(program, folder)
        step = os.path.join(folder, "step.json")
        with open(step, "w", encoding="utf-8") as file:
            json.dump({**spec, "way": "plain"}, file)
        environment = {**os.environ, "PYTHONHOME": "/usr"}
        done = subprocess.run([path, sys.argv[0], step], env=environment, pass_fds=close,
                              stdout=subprocess.PIPE, check=True, timeout=60)
        return json.loads(done.stdout)


def renamed(spec):
    return copied(spec, lambda program, folder: (shutil.copy(program, folder + "/sshd"), ()))


def linked(spec):
    def make(program, folder):
        os.symlink(program, folder + "/systemd")
        return folder + "/systemd", ()
    return copied(spec, make)


def in_memory(spec):
    def make(program, _):
        descriptor = os.memfd_create("kworker", 0)
        with open(program, "rb") as file:
            os.write(descriptor, file.read())
        return f"/proc/self/fd/{descriptor}", (descriptor,)
    return copied(spec, make)


def static(spec):
    """A program without any library says a hello and tells what came back."""
    enter(spec)
    with tempfile.NamedTemporaryFile() as file:
        file.write(begin(spec)[3])
        file.flush()
        done = subprocess.run([spec["static"], spec["address"], file.name],
                              stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)


def in_user_namespace(spec):
    enter(spec)
    return in_child(lambda: unshared(spec))


def unshared(spec):
    # CLONE_NEWUSER (linux/sched.h).
    if LIBC.unshare(0x10000000) != 0:
        return {"lacks": "user namespaces"}
    return talk(spec, connected(spec))


def multipath(spec):
    enter(spec)
    stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    stream.settimeout(20)
    stream.connect(address(spec))
    return talk(spec, stream)


def fast_open(spec):
    enter(spec)
    begun = begin(spec)
    stream = socket.socket()
    stream.sendto(begun[3], FAST_OPEN, address(spec))
    return finish(spec, stream, begun)


def from_file(spec):
    enter(spec)

    def put(stream, hello):
        with tempfile.TemporaryFile() as file:
            file.write(hello)
            file.flush()
            os.sendfile(stream.fileno(), file.fileno(), 0, len(hello))
    return talk(spec, connected(spec), put)


def spliced(spec):
    enter(spec)

    def put(stream, hello):
        ours, theirs = os.pipe()
        os.write(theirs, hello)
        os.splice(ours, stream.fileno(), len(hello))
    return talk(spec, connected(spec), put)


def without_copy(spec):
    enter(spec)

    def put(stream, hello):
        stream.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        stream.send(hello, ZERO_COPY)
    return talk(spec, connected(spec), put)


class Ring:
    """As much of io_uring as one request at a time needs (linux/io_uring.h)."""

    def __init__(self):
        parameters = bytearray(120)
        pointer = (ctypes.c_char * 120).from_buffer(parameters)
        self.descriptor = LIBC.syscall(425, 4, pointer)
        if self.descriptor < 0:
            raise NotImplementedError("io_uring")
        words = struct.unpack("30I", parameters)
        self.tail, self.mask, self.array = words[11], words[12], words[16]
        self.head, self.heard_mask, self.events = words[20], words[22], words[25]
        self.ring = mmap.mmap(self.descriptor, self.array + 4 * words[0], offset=0)
        self.answers = mmap.mmap(self.descriptor, self.events + 16 * words[1], offset=0x8000000)
        self.entries = mmap.mmap(self.descriptor, 64 * words[0], offset=0x10000000)

    def do(self, code, descriptor, at, length, offset=0):
        """One request; gives its result, an error as `OSError`."""
        (tail,) = struct.unpack_from("I", self.ring, self.tail)
        slot = tail & struct.unpack_from("I", self.ring, self.mask)[0]
        entry = struct.pack("BBHiQQI", code, 0, 0, descriptor, offset, at, length)
        self.entries[64 * slot:64 * slot + 64] = entry.ljust(64, b"\0")
        struct.pack_into("I", self.ring, self.array + 4 * slot, slot)
        struct.pack_into("I", self.ring, self.tail, tail + 1)
        LIBC.syscall(426, self.descriptor, 1, 1, 1, None, 0)
        (head,) = struct.unpack_from("I", self.answers, self.head)
        (mask,) = struct.unpack_from("I", self.answers, self.heard_mask)
        _, result, _ = struct.unpack_from("QiI", self.answers, self.events + 16 * (head & mask))
        struct.pack_into("I", self.answers, self.head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result


def by_ring(spec):
    """Connects and writes by io_uring."""
    enter(spec)
    try:
        ring = Ring()
    except NotImplementedError:
        return {"lacks": "io_uring"}
    stream = socket.socket()
    host, port = address(spec)
    place = ctypes.create_string_buffer(struct.pack("!2xH4s8x", port, socket.inet_aton(host)))
    struct.pack_into("H", place, 0, socket.AF_INET)
    # IORING_OP_CONNECT has its length where others have their offset.
    ring.do(16, stream.fileno(), ctypes.addressof(place), 0, 16)

    def put(socket_, hello):
        text = ctypes.create_string_buffer(hello, len(hello))
        ring.do(26, socket_.fileno(), ctypes.addressof(text), len(hello))
    return talk(spec, stream, put)


def datagrams(kind):
    def way(spec):
        enter(spec)
        stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram = bytes(spec["datagram"])
        if kind == "connected":
            stream.connect(address(spec))
            return {"answered": stream.send(datagram)}
        return {"answered": stream.sendto(datagram, address(spec))}
    return way


def serve_tunnel(listener, spec, asks, greets, wraps):
    """Takes one client, and behind its greeting carries its bytes to the host."""
    near, _ = listener.accept()
    if wraps:
        near = say_server(spec).wrap_socket(near, server_side=True)
    left = len(asks)
    while left and (heard := near.recv(left)):
        left -= len(heard)
    far = connected(spec)
    near.sendall(greets)

    def carry(source, target):
        try:
            while heard := source.recv(65536):
                target.sendall(heard)
        except OSError:
            pass
        target.close()
    threading.Thread(target=carry, args=(far, near), daemon=True).start()
    carry(near, far)


def say_server(spec):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(spec["certificate"])
    return made


def through(asks, greets, wraps=False, cut=False):
    """By a process that is not enforced, on this machine; a greeting that is cut comes in single bytes."""
    def way(spec):
        listener = socket.create_server(("127.0.0.1", 0))
        helper = os.fork()
        if helper == 0:
            serve_tunnel(listener, spec, asks, greets, wraps)
            os._exit(0)
        try:
            enter(spec)
            stream = socket.create_connection(listener.getsockname(), timeout=20)
            if wraps:
                stream = say.context(spec["ca"]).wrap_socket(stream, server_hostname="tunnel.example")
            for at in range(0, len(asks), 1 if cut else len(asks)):
                stream.sendall(asks[at:at + 1] if cut else asks)
            stream.recv(65536)
            return talk(spec, stream)
        finally:
            os.kill(helper, 9)
            os.waitpid(helper, 0)
    return way


CONNECT = b"CONNECT api.groq.com:443 HTTP/1.1\r\n\r\n"
WAYS = {
    "plain": plain,
    "fork after connect": fork_after_connect,
    "write from another thread": other_thread,
    "socket handed over within": handed_within,
    "socket handed out": handed_out,
    "socket handed in": handed_in,
    "socket made before joining": made_before_joining,
    "connected before joining": connected_before_joining,
    "connected again": connected_again,
    "hello cut at each byte": every_cut,
    "hello in single bytes": in_pieces("bytes"),
    "hello in several records": in_pieces("records"),
    "slow hello": slow_hello,
    "hello in vectors": in_vectors,
    "name behind what is read": name_far_behind,
    "hello of no version": of_no_version,
    "hello of any version": of_any_version,
    "records of any version": in_records_of_any_version,
    "hello of SSL 2.0": of_the_second_version,
    "like records": like_records,
    "mapped IPv4": mapped_v4,
    "renamed copy": renamed,
    "symbolic link": linked,
    "memfd": in_memory,
    "static program": static,
    "user namespace": in_user_namespace,
    "MPTCP": multipath,
    "Fast Open": fast_open,
    "sendfile": from_file,
    "splice": spliced,
    "MSG_ZEROCOPY": without_copy,
    "io_uring": by_ring,
    "QUIC, connected": datagrams("connected"),
    "QUIC, not connected": datagrams("sent"),
    "CONNECT proxy": through(CONNECT, b"HTTP/1.1 200 OK\r\n\r\n"),
    "SOCKS proxy": through(b"\5\1\0", b"\5\0"),
    "greeting in single bytes": through(CONNECT, b"HTTP/1.1 200 OK\r\n\r\n", cut=True),
    # A password (RFC 1929) that ends as a record begins.
    "greeting that ends like a record": through(b"\1\4user\1\x16", b"\1\0", cut=True),
    "encrypted tunnel": through(b"hello", b"hello", wraps=True),
}


def failed(error):
    return {"errno": error.errno or -1, "error": str(error)}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    try:
        outcome = {**WAYS, **around.WAYS}[spec["way"]](spec)
    except OSError as error:
        outcome = failed(error)
    print(json.dumps(outcome), flush=True)


main()
