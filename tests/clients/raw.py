"""A file with one specification comes in (argv 1): what to load, in which order, and the bytes to say over one TLS
connection; the status lines that came back go out. With a pause, the word "ready" is printed before the second step,
which then waits for a line on standard input.
"""

import ctypes
import json
import re
import socket
import sys


def pause(spec):
    if spec["pause"]:
        print("ready", flush=True)
        sys.stdin.readline()


def connect(spec):
    return socket.create_connection((spec["host"], 443), timeout=60)


def load(spec):
    """Maps libraries from paths of their own; what needs a library of that name later gets these."""
    return [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in spec["load"]]


class Python:
    """TLS by the interpreter's own module."""

    def __init__(self, spec):
        load(spec)
        import ssl
        self.spec, self.context = spec, ssl.create_default_context(cafile=spec["ca"])

    def talk(self, plain, said):
        with self.context.wrap_socket(plain, server_hostname=self.spec["host"]) as secured:
            secured.sendall(said)
            return b"".join(iter(lambda: secured.recv(65536), b""))


class Library:
    """TLS by the functions of a library of the OpenSSL family, called as any program in C would call them."""

    def __init__(self, spec):
        self.spec, self.tls = spec, load(spec)[-1]
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(self.tls, name).restype = ctypes.c_void_p

    def checked(self, outcome):
        if outcome <= 0:
            raise RuntimeError(f"a function of the library gave {outcome}")
        return outcome

    def talk(self, plain, said):
        tls = self.tls
        context = ctypes.c_void_p(tls.SSL_CTX_new(ctypes.c_void_p(tls.TLS_client_method())))
        self.checked(tls.SSL_CTX_load_verify_locations(context, self.spec["ca"].encode(), None))
        tls.SSL_CTX_set_verify(context, 1, None)
        session = ctypes.c_void_p(tls.SSL_new(context))
        plain.setblocking(True)
        self.checked(tls.SSL_set_fd(session, plain.fileno()))
        self.checked(tls.SSL_ctrl(session, 55, ctypes.c_long(0), self.spec["host"].encode()))
        self.checked(tls.SSL_connect(session))
        self.checked(tls.SSL_write(session, said, len(said)))
        heard, buffer = b"", ctypes.create_string_buffer(65536)
        while (count := tls.SSL_read(session, buffer, len(buffer))) > 0:
            heard += buffer.raw[:count]
        tls.SSL_free(session)
        return heard


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    make = Library if spec["direct"] else Python
    if spec["connect_first"]:
        plain = connect(spec)
        pause(spec)
        tls = make(spec)
    else:
        tls = make(spec)
        pause(spec)
        plain = connect(spec)
    heard = tls.talk(plain, "".join(spec["messages"]).encode())
    # A body ends where the next answer begins, without a line's end.
    print(json.dumps([int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", heard)]), flush=True)


main()
