"""The pin of a link comes in (argv 1); the link is detached as root may do it, by `BPF_LINK_DETACH` (bpf(2))."""

import ctypes
import os
import struct
import sys

OBJ_GET, LINK_DETACH = 7, 34
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    text = ctypes.create_string_buffer(attributes, 128)
    number = {"x86_64": 321}.get(os.uname().machine, 280)
    result = LIBC.syscall(number, command, text, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


path = ctypes.create_string_buffer(sys.argv[1].encode())
link = bpf(OBJ_GET, struct.pack("QII", ctypes.addressof(path), 0, 0))
bpf(LINK_DETACH, struct.pack("I", link))
