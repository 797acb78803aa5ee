//! Conversations, each with the events it must give.

use crate::http::recorder::Said;
use crate::reassembly::Direction::{Received, Sent};

/// Name, conversation, events.
type Case = (&'static str, &'static [Said], &'static [&'static str]);

pub(super) const CASES: &[Case] = &[
    (
        "keep-alive with lengths",
        &[
            (Sent, b"POST /v1/a HTTP/1.1\r\nHost: API.example:443\r\nContent-Length: 4\r\n\r\n{..}"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            (Sent, b"GET /v1/b HTTP/1.1\r\nHost: api.example\r\n\r\n"),
            (Received, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        ],
        &[
            "0 POST /v1/a at api.example @10",
            "0 > {..}",
            "0 >| Complete",
            "0 200 @20",
            "0 < {}",
            "0 <| Complete",
            "1 GET /v1/b at api.example @30",
            "1 >| Complete",
            "1 404 @40",
            "1 <| Complete",
        ],
    ),
    (
        "chunks, extensions, trailers, bare LF, folded lines",
        &[
            (
                Sent,
                b"POST / HTTP/1.1\nHost:\n h\nTransfer-Encoding: chunked\n\n2;x=y\nab\n0\nTrailer: t\n\n",
            ),
            (
                Received,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n3\r\n1\n\n\r\n0\r\n\r\n",
            ),
        ],
        &[
            "0 POST / at h @10",
            "0 > ab",
            "0 >| Complete",
            "0 200 @20",
            "0 < data: 1\\n\\n",
            "0 <| Complete",
        ],
    ),
    (
        "pipelining",
        &[
            (
                Sent,
                b"GET /1 HTTP/1.1\r\n\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
            ),
            (
                Received,
                b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200\r\nContent-Length: 9\r\n\r\n\
                  HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n",
            ),
        ],
        &[
            "0 GET /1 at  @10",
            "0 >| Complete",
            "1 HEAD /2 at  @10",
            "1 >| Complete",
            "2 POST /3 at  @10",
            "2 > x",
            "2 >| Complete",
            "0 200 @20",
            "0 < a",
            "0 <| Complete",
            "1 200 @20",
            "1 <| Complete",
            "2 200 @20",
            "2 < c",
            "2 <| Complete",
        ],
    ),
    (
        "100-continue, then until close",
        &[
            (Sent, b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
            (Received, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
            (Sent, b"abc"),
            (Received, b"HTTP/1.0 200 OK\r\n\r\nuntil the "),
            (Received, b"end"),
        ],
        &[
            "0 PUT / at  @10",
            "0 > abc",
            "0 >| Complete",
            "0 200 @40",
            "0 < until the end",
            "0 <| Complete",
        ],
    ),
    (
        "no body after 204 and 304",
        &[
            (Sent, b"GET /1 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"),
            (Sent, b"DELETE /2 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ],
        &[
            "0 GET /1 at  @10",
            "0 >| Complete",
            "0 304 @20",
            "0 <| Complete",
            "1 DELETE /2 at  @30",
            "1 >| Complete",
            "1 204 @40",
            "1 <| Complete",
        ],
    ),
    (
        "an early response waits for the end of its request",
        &[
            (Sent, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"),
            (Received, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"),
            (Sent, b"defGET /2 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
        &[
            "0 POST / at  @10",
            "0 > abcdef",
            "0 401 @20",
            "0 < no",
            "0 >| Complete",
            "0 <| Complete",
            "1 GET /2 at  @30",
            "1 >| Complete",
            "1 200 @40",
            "1 <| Complete",
        ],
    ),
    (
        "an early response, then the connection closes",
        &[
            (Sent, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"),
            (Received, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
        ],
        &["0 POST / at  @10", "0 > abc", "0 413 @20", "0 < no", "0 >| Aborted", "0 <| Complete"],
    ),
    (
        "codings that code nothing",
        &[
            (Sent, b"GET /1 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Encoding: none\r\nContent-Length: 2\r\n\r\n{}"),
            (Sent, b"GET /2 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n[]"),
        ],
        &[
            "0 GET /1 at  @10",
            "0 >| Complete",
            "0 200 @20",
            "0 < {}",
            "0 <| Complete",
            "1 GET /2 at  @30",
            "1 >| Complete",
            "1 200 @40",
            "1 < []",
            "1 <| Complete",
        ],
    ),
    (
        "an upgrade to another protocol",
        &[
            (Sent, b"GET /v1/responses HTTP/1.1\r\nHost: h\r\nUpgrade: other\r\n\r\n"),
            (Received, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n\x81\x05HTTP/"),
            (Sent, b"\x82\x80GET / HTTP/1.1\r\n\r\n"),
        ],
        &["0 GET /v1/responses at h @10", "0 >| Complete", "0 upgraded 101"],
    ),
    (
        "a tunnel, refused once",
        &[
            (Sent, b"CONNECT h:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
            (Received, b"HTTP/1.1 407 Authenticate\r\nContent-Length: 1\r\n\r\nx"),
            (Sent, b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x16\x03"),
            (Sent, b"\x16\x03\x01\nGET / HTTP/1.1\r\n\r\n"),
        ],
        &[
            "0 CONNECT h:443 at h @10",
            "0 >| Complete",
            "0 407 @20",
            "0 < x",
            "0 <| Complete",
            "1 CONNECT h:443 at h @30",
            "1 >| Complete",
            "1 upgraded 200",
        ],
    ),
    (
        "broken requests and chunks; the next start line is found",
        &[
            (Sent, b"nonsense\r\n{\"a\":\"GET / HTTP/1.1\"}\nPOST /1 HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
            (Sent, b"body\nPOST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
            (Received, b"HTTP/1.1 400 Bad\r\nContent-Length: 1,2\r\n\r\n"),
            (Received, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\nHTTP/1.1 500 no\r\n\r\n"),
        ],
        &[
            "0 POST /2 at  @20",
            "0 >| Aborted",
            "1 GET /3 at  @20",
            "1 >| Complete",
            "0 400 @30",
            "0 <| Aborted",
            "1 200 @40",
            "1 < a",
            "1 <| Aborted",
            "2 500 @40",
            "2 <| Complete",
        ],
    ),
    (
        "cut off in the middle",
        &[
            (Sent, b"POST /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nxPOST /2 HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"),
            (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        ],
        &[
            "0 POST /1 at  @10",
            "0 > x",
            "0 >| Complete",
            "1 POST /2 at  @10",
            "1 > x",
            "0 200 @20",
            "0 < {",
            "1 >| Aborted",
            "0 <| Aborted",
            "1 <| Aborted",
        ],
    ),
];
