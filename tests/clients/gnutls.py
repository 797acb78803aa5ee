# A file with one specification of a call comes in (argument 1); libcurl with GnuTLS makes it, and its body goes out.
# The library is called as C programs call it: no other TLS library is in the process.

import ctypes
import json
import sys

URL, POSTFIELDS, HTTPHEADER, CAINFO, HTTP_VERSION, ENCODING = 10002, 10015, 10023, 10065, 84, 10102
HTTP_1_1, HTTP_2 = 2, 3

spec = json.load(open(sys.argv[1], encoding="utf-8"))
curl = ctypes.CDLL("libcurl-gnutls.so.4")
curl.curl_easy_init.restype = ctypes.c_void_p
curl.curl_slist_append.restype = ctypes.c_void_p
curl.curl_slist_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
handle = ctypes.c_void_p(curl.curl_easy_init())


def option(number, value):
    assert curl.curl_easy_setopt(handle, ctypes.c_int(number), value) == 0, number


request, headers = spec["request"], None
for name, value in request["headers"].items():
    headers = curl.curl_slist_append(headers, f"{name}: {value}".encode())
body = request["body"].encode()
option(URL, ctypes.c_char_p(request["url"].encode()))
option(HTTPHEADER, ctypes.c_void_p(headers))
option(POSTFIELDS, ctypes.c_char_p(body))
option(CAINFO, ctypes.c_char_p(sys.argv[2].encode()))
option(ENCODING, ctypes.c_char_p(b""))
option(HTTP_VERSION, ctypes.c_long(HTTP_1_1 if spec["client"].endswith("-h1") else HTTP_2))
failed = curl.curl_easy_perform(handle)
curl.curl_easy_cleanup(handle)
sys.exit(failed)
