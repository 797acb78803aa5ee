# The name of a package (argument 1), a file with one specification of a call (2) and one of authorities (3) come in; the
# package, which brings a TLS library of its own, makes the call. The interpreter's own library is in the process beside it.

import asyncio
import json
import os
import ssl
import sys

PACKAGE, SPEC, CA = sys.argv[1:4]
# What nearly every program does sooner or later: the interpreter's library is loaded, and stays unused.
ssl.create_default_context()
request = json.load(open(SPEC, encoding="utf-8"))["request"]
URL, HEADERS, BODY = request["url"], dict(request["headers"]), request["body"].encode()


def curl_cffi():
    from curl_cffi import requests

    answer = requests.Session(verify=CA, impersonate="chrome").post(URL, headers=HEADERS, data=BODY)
    return answer.status_code, answer.content


def rnet():
    import rnet

    async def call():
        answer = await rnet.Client(verify=False).post(URL, headers=HEADERS, body=BODY)
        return int(str(answer.status)), await answer.bytes()

    return asyncio.run(call())


def pycurl():
    import io

    import pycurl

    handle, body = pycurl.Curl(), io.BytesIO()
    handle.setopt(pycurl.URL, URL)
    handle.setopt(pycurl.CAINFO, CA)
    handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()])
    handle.setopt(pycurl.POSTFIELDS, BODY)
    handle.setopt(pycurl.WRITEDATA, body)
    handle.perform()
    return handle.getinfo(pycurl.RESPONSE_CODE), body.getvalue()


status, content = globals()[PACKAGE]()
if PACKAGE == "rnet" and status == 200 and content:
    # Its threads outlive what they work with: on a busy machine one of six runs ends with SIGSEGV, without a sensor too.
    os._exit(0)
sys.exit(0 if status == 200 and content else f"status {status}, {len(content)} bytes")
