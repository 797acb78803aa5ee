"""The process of a sensor, a cgroup, an address, a name, and numbers of batches and of connections in each come in (argv); what
one run of each program of its gate costs, in nanoseconds of the best batch, goes out as one line of JSON. The process joins the
cgroup and says hello on each connection."""

import ctypes
import glob
import json
import os
import socket
import ssl
import struct
import sys

PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, ENABLE_STATS = 13, 15, 32
# Places in `struct bpf_prog_info`.
NAME_AT, TIME_AT, INFO_LEN = 64, 192, 232
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    text = ctypes.create_string_buffer(attributes, 128)
    result = LIBC.syscall({"x86_64": 321}.get(os.uname().machine, 280), command, text, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def programs(pid):
    """The gate's programs that the sensor holds, by name."""
    ids, found = set(), {}
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with open(path, encoding="ascii") as file:
            ids.update(int(line.split()[1]) for line in file if line.startswith("prog_id:"))
    for number in ids:
        program = bpf(PROG_GET_FD_BY_ID, struct.pack("I", number))
        name = info(program)[NAME_AT:NAME_AT + 16].rstrip(b"\0").decode()
        if name.startswith("gate_"):
            found[name] = program
    return found


def info(program):
    held = ctypes.create_string_buffer(INFO_LEN)
    bpf(OBJ_GET_INFO_BY_FD, struct.pack("IIQ", program, INFO_LEN, ctypes.addressof(held)))
    return held.raw


def spent(program):
    """Nanoseconds and runs so far."""
    return struct.unpack_from("QQ", info(program), TIME_AT)


def hello(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def main():
    pid, cgroup, address, name = sys.argv[1:5]
    batches, connections = (int(word) for word in sys.argv[5:7])
    with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    # Counting ends with this descriptor.
    bpf(ENABLE_STATS, struct.pack("I", 0))
    held, said, least, runs = programs(pid), hello(name), {}, {}
    for _ in range(batches):
        before = {name: spent(program) for name, program in held.items()}
        for _ in range(connections):
            with socket.create_connection((address, 443), timeout=20) as stream:
                stream.sendall(said)
        for name, program in held.items():
            time, count = (now - then for now, then in zip(spent(program), before[name]))
            runs[name] = runs.get(name, 0) + count
            # Other processes connect too: a batch counts in which most runs are its own.
            if count >= connections:
                least[name] = min(least.get(name, time / count), time / count)
    print(json.dumps({name: {"ns": value, "runs": runs[name]} for name, value in least.items()}))


main()
