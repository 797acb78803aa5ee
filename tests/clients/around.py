"""More ways of evade.py, which runs as the main program and takes them in: other protocols, other processes, the kernel's own
means."""

import __main__ as own
import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import say

SOL_TCP, TCP_ULP = 6, 31
# Tries of a process that has to be the first to do something on a machine that others use too.
TRIES = 200


def proper_v6(spec):
    own.enter(spec)
    stream = socket.create_connection((spec["address6"], 443), timeout=20)
    return own.talk(spec, stream)


def spelt(spec):
    """Says what the specification spells out, to the host that is allowed, in a program that starts in the cgroup."""
    if "ENTERED" not in os.environ:
        own.enter(spec)
        os.environ["ENTERED"] = "yes"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    stream = socket.create_connection((spec["allowed"], 443), timeout=20)
    return own.talk(spec, stream)


def in_kernel(spec):
    """Asks for TLS in the kernel before the hello; goes on where that is refused."""
    own.enter(spec)
    stream = own.connected(spec)
    try:
        stream.setsockopt(SOL_TCP, TCP_ULP, b"tls")
        option = 0
    except OSError as error:
        option = error.errno
    try:
        return {**own.talk(spec, stream), "option": option}
    except OSError as error:
        return {**own.failed(error), "option": option}


def raw(spec):
    """A datagram from a raw socket, with its head made by hand."""
    own.enter(spec)
    datagram = bytes(spec["datagram"])
    head = struct.pack("!HHHH", 40_000, 443, 8 + len(datagram), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as stream:
        return {"answered": stream.sendto(head + datagram, (spec["address"], 0))}


class Tracer:
    """Another process, stopped; its system calls are made for it (ptrace(2), x86-64)."""

    ATTACH, DETACH, STEP, GET, SET = 16, 17, 9, 12, 13
    # Places in `struct user_regs_struct`: rax, orig_rax, rip; the first three arguments.
    RESULT, CALL, AT, ARGUMENTS = 10, 15, 16, (14, 13, 12)

    def __init__(self, pid):
        self.pid = pid
        self.do(self.ATTACH)
        os.waitpid(pid, 0)

    def do(self, request, data=None):
        own.LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        own.LIBC.ptrace.restype = ctypes.c_long
        if own.LIBC.ptrace(request, self.pid, None, data) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def registers(self):
        held = (ctypes.c_ulonglong * 27)()
        self.do(self.GET, ctypes.cast(held, ctypes.c_void_p))
        return held

    def call(self, number, arguments):
        held = self.registers()
        changed = type(held)(*held)
        changed[self.RESULT], changed[self.CALL], changed[self.AT] = number, 2**64 - 1, instruction()
        for place, argument in zip(self.ARGUMENTS, arguments):
            changed[place] = argument
        self.do(self.SET, ctypes.cast(changed, ctypes.c_void_p))
        self.do(self.STEP)
        os.waitpid(self.pid, 0)
        return ctypes.c_longlong(self.registers()[self.RESULT]).value

    def put(self, place, text):
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(place)
            memory.write(text)


def instruction():
    """Where a `syscall` instruction stands, which a forked process has at the same place."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            place, rights = line.split()[:2]
            if "libc" in line and "x" in rights:
                start, end = (int(part, 16) for part in place.split("-"))
                return start + ctypes.string_at(start, end - start).index(b"\x0f\x05")
    raise OSError(-1, "no system call in libc")


def traced(theirs_first, ours_first):
    """A process connects and waits; this one has it say a hello."""
    def way(spec):
        if os.uname().machine != "x86_64":
            return {"lacks": "registers of x86-64"}
        buffer = mmap.mmap(-1, 65536, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            theirs_first(spec)
            stream = own.connected(spec)
            stream.setblocking(True)
            os.write(told, bytes([stream.fileno()]))
            while True:
                signal.pause()
        try:
            descriptor = os.read(ready, 1)[0]
            ours_first(spec)
            tracer, hello = Tracer(child), own.begin(spec)[3]
            tracer.put(place, hello)
            wrote = tracer.call(1, (descriptor, place, len(hello)))
            if wrote < 0:
                return own.failed(OSError(-wrote, os.strerror(-wrote)))
            return {"answered": max(0, tracer.call(0, (descriptor, place, 65536)))}
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return way


def over_http_2(spec):
    """A connection to an allowed host, by its name; the request on it is for another one."""
    own.enter(spec)
    context = say.context(spec["ca"])
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = own.ssl.MemoryBIO(), own.ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="api.openai.com")
    with socket.create_connection((spec["allowed"], 443), timeout=20) as stream:
        def pump(call):
            while True:
                try:
                    result = call()
                    stream.sendall(outgoing.read())
                    return result
                except own.ssl.SSLWantReadError:
                    stream.sendall(outgoing.read())
                    heard = stream.recv(65536)
                    if not heard:
                        raise ConnectionResetError("the server has closed")
                    incoming.write(heard)
        pump(tls.do_handshake)
        pump(lambda: tls.write(request_2(spec)))
        heard = b""
        while True:
            heard += pump(lambda: tls.read(65536))
            status = status_2(heard)
            if status:
                return {"status": status}


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text_2(value):
    """A string of HPACK as it is (RFC 7541, 5.2), of fewer than 127 bytes."""
    return bytes([len(value)]) + value.encode()


def request_2(spec):
    """Preface, settings and one request (RFC 9113, 3.4; RFC 7541, 6.2.2)."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": spec["prompt"]}]})
    fields = bytes([0x83, 0x87]) + b"\x04" + text_2("/v1/chat/completions") + b"\x01" + text_2(spec["authority"])
    for name, value in [("authorization", "Bearer " + spec["key"]), ("content-type", "application/json"),
                        ("x-lab-scenario", spec["scenario"]), ("content-length", str(len(body)))]:
        fields += b"\0" + text_2(name) + text_2(value)
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, fields)
            + frame(0, 1, 1, body.encode()))


def status_2(heard):
    """The status of the answer, once its head is there; the usual one is a single byte (RFC 7541, appendix A)."""
    at = 0
    while at + 9 <= len(heard):
        length = int.from_bytes(heard[at:at + 3], "big")
        if heard[at + 3] == 1 and len(heard) > at + 9:
            return 200 if heard[at + 9] == 0x88 else 500
        at += 9 + length
    return 0


def ask_address(spec):
    """Asks the lab's name server for the host, as a library would."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in spec["authority"].split("."))
    question = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.settimeout(5)
        stream.sendto(question, (spec["names"], 53))
        return socket.inet_ntoa(stream.recv(512)[-4:])


def hidden_name(spec):
    """Hellos with another one hidden inside, to the address that DNS gives; goes on until one is refused, or long enough for
    the answer to be known."""
    own.enter(spec)
    answered = 0
    for _ in range(spec["tries"]):
        address = ask_address(spec)
        hello = say.in_records(say.with_encrypted_hello(say.message_of(own.begin(spec)[3])), 16384)
        with socket.create_connection((address, 443), timeout=20) as stream:
            try:
                stream.sendall(hello)
                answered += bool(stream.recv(1))
            except OSError as error:
                return own.failed(error)
        time.sleep(0.05)
    return {"answered": answered}


def plain_text(spec):
    """Plain HTTP to the address that DNS gives for the denied name: to the port of HTTPS until it is refused there, as soon as
    the answer is known; to a neighbour's port; and to the ports of HTTPS and of HTTP once more."""
    own.enter(spec)
    asked = b"GET / HTTP/1.1\r\nhost: neighbour.example\r\nconnection: close\r\n\r\n"
    address = ask_address(spec)

    def is_refused(port):
        with socket.create_connection((address, port), timeout=20) as stream:
            try:
                stream.sendall(asked)
            except PermissionError:
                return True
        return False
    for _ in range(spec["tries"]):
        if is_refused(443):
            break
        time.sleep(0.05)
        ask_address(spec)
    with socket.create_connection((address, 8080), timeout=20) as stream:
        stream.sendall(asked)
        heard = stream.recv(65536)
    return {"refused": is_refused(443) and is_refused(80), "heard": heard.decode("latin-1")}


def plain_text_elsewhere(spec):
    """Plain HTTP to a port that is nobody's by itself."""
    own.enter(spec)
    with socket.create_connection((ask_address(spec), 8080), timeout=20) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nhost: {spec['authority']}\r\nconnection: close\r\n\r\n".encode())
        return {"answered": len(stream.recv(65536))}


def serve_names(listener, spec):
    """Answers DNS over HTTPS (RFC 8484) with the one address there is."""
    def serve(near):
        try:
            stream = own.say_server(spec).wrap_socket(near, server_side=True)
            heard = b""
            while more := stream.recv(65536):
                heard += more
                head, end, body = heard.partition(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n")
                           if line.startswith(b"content-length:")]
                if not end or len(body) < int(lengths[0]):
                    continue
                question, heard = body[12:int(lengths[0])], body[int(lengths[0]):]
                is_v4 = question[-4:-2] == b"\0\1"
                answer = body[:2] + b"\x81\x80\0\1\0" + bytes([is_v4]) + b"\0\0\0\0" + question
                if is_v4:
                    answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(spec["address"])
                stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/dns-message\r\ncontent-length: "
                               + str(len(answer)).encode() + b"\r\n\r\n" + answer)
        except OSError:
            pass
    while True:
        near, _ = listener.accept()
        threading.Thread(target=serve, args=(near,), daemon=True).start()


def curl_over_https(spec):
    """curl looks the name up by DNS over HTTPS, and asks."""
    listener = socket.create_server(("127.0.0.1", 0))
    helper = os.fork()
    if helper == 0:
        serve_names(listener, spec)
    try:
        own.enter(spec)
        port = listener.getsockname()[1]
        body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": spec["prompt"]}]})
        done = subprocess.run(
            ["curl", "--silent", "--max-time", "20", "--doh-insecure", "--doh-url",
             f"https://127.0.0.1:{port}/dns-query", "--cacert", spec["ca"], "--output", "/dev/null",
             "--write-out", "%{http_code} %{remote_ip}", "--header", "authorization: Bearer " + spec["key"],
             "--header", "content-type: application/json", "--header", "x-lab-scenario: " + spec["scenario"],
             "--data", body, f"https://{spec['authority']}/v1/chat/completions"],
            stdout=subprocess.PIPE, check=False, timeout=60)
        status, _, address = done.stdout.decode().partition(" ")
        if done.returncode:
            return {"errno": -1, "error": f"curl {done.returncode}", "resolved": address}
        return {"status": int(status), "resolved": address}
    finally:
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)


def reused_id(spec):
    """A process that gets the id of one that has ended says the hello."""
    own.enter(spec)
    wanted = spec["pid"]
    for _ in range(TRIES):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(wanted - 1))
        outcome = own.in_child(lambda: own.talk(spec, own.connected(spec)) if os.getpid() == wanted else None)
        if outcome is not None:
            return outcome
    return {"lacks": f"the id {wanted}"}


def without_first_thread(spec):
    """The first thread ends; another one asks, and tells."""
    def work():
        state = f"/proc/self/task/{os.getpid()}/stat"
        while open(state, encoding="ascii").read().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.001)
        try:
            outcome = own.talk(spec, own.connected(spec))
        except OSError as error:
            outcome = own.failed(error)
        print(json.dumps(outcome), flush=True)
        os._exit(0)
    threading.Thread(target=work).start()
    # The C library's `exit` ends all threads, and this call ends one.
    own.LIBC.syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)


def by_another_thread(spec):
    """Another thread than the first executes a program, which takes the place of all threads."""
    def work():
        with open(own.sys.argv[1], "w", encoding="utf-8") as file:
            json.dump({**spec, "way": "as it is"}, file)
        os.execv(own.sys.executable, [own.sys.executable, *own.sys.argv])
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def as_it_is(spec):
    """Asks without joining any cgroup."""
    return own.talk(spec, own.connected(spec))


def nothing(_):
    pass


WAYS = {
    "spelt": spelt,
    "IPv6": proper_v6,
    "TLS in the kernel": in_kernel,
    "raw socket": raw,
    "written by ptrace from outside": traced(lambda spec: own.enter(spec), nothing),
    "written by ptrace into others": traced(nothing, lambda spec: own.enter(spec)),
    "HTTP/2 for another host": over_http_2,
    "hidden name (ECH)": hidden_name,
    "plain text": plain_text,
    "plain HTTP to another port": plain_text_elsewhere,
    "DNS over HTTPS, by curl": curl_over_https,
    "process id again": reused_id,
    "first thread ended": without_first_thread,
    "program of another thread": by_another_thread,
    "as it is": as_it_is,
}
