//! Pipelined requests and their responses come in, interleaved in every way; each response must go to its own request.

use super::*;

/// A request, its responses, and what its exchange must tell: no two of them tell the same.
type Pair = (&'static [u8], &'static [u8], &'static [&'static str]);

const PAIRS: &[Pair] = &[
    (
        b"POST /0 HTTP/1.1\r\nContent-Length: 2\r\n\r\nq0",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na0",
        &["POST /0 at  ", "> q0", ">| Complete", "200 ", "< a0", "<| Complete"],
    ),
    (
        b"HEAD /1 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 201 OK\r\nContent-Length: 900\r\n\r\n",
        &["HEAD /1 at  ", ">| Complete", "201 ", "<| Complete"],
    ),
    (
        b"POST /2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nq2",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
          HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na2\r\n0\r\n\r\n",
        &["POST /2 at  ", "> q2", ">| Complete", "202 ", "< a2", "<| Complete"],
    ),
    (
        b"DELETE /3 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        &["DELETE /3 at  ", ">| Complete", "204 ", "<| Complete"],
    ),
    (
        b"POST /4 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nq4\r\n0\r\n\r\n",
        b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n",
        &["POST /4 at  ", "> q4", ">| Complete", "429 ", "<| Complete"],
    ),
    (
        b"GET /5 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 205 OK\r\nContent-Length: 2\r\n\r\na5",
        &["GET /5 at  ", ">| Complete", "205 ", "< a5", "<| Complete"],
    ),
];

/// How a connection began.
const STARTS: [Start; 3] = [Start::Fresh, Start::Joined, Start::Within];

/// What the sensor saw of a connection's beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    /// Everything.
    Fresh,
    /// It was joined between two exchanges.
    Joined,
    /// It was joined within a response.
    Within,
}

impl Start {
    /// What the sensor sees of a pipeline on such a connection: a side tells that it was joined before its first bytes.
    fn play(self, pipeline: &[(Direction, Piece)]) -> Vec<String> {
        let rest = recorder::data(1, b"HTTP was the rest of it\n\r\n0\r\n\r\n");
        let before = (self == Self::Within).then_some((Received, rest));
        let (mut seen, mut told) = (Vec::new(), Vec::new());
        for (direction, piece) in before.into_iter().chain(pipeline.iter().cloned()) {
            if let (Piece::Data { at_ns, .. }, true) = (&piece, self != Self::Fresh)
                && !told.contains(&direction)
            {
                told.push(direction);
                seen.push((direction, Piece::Gap { at_ns: *at_ns, bytes: None }));
            }
            seen.push((direction, piece));
        }
        play(seen, false)
    }
}

/// What one exchange told, times left out.
fn told(lines: &[String], id: usize) -> Vec<String> {
    let own = lines.iter().filter_map(|line| line.strip_prefix(&format!("{id} ")));
    own.map(|line| line.split('@').next().unwrap_or_default().to_owned()).collect()
}

/// Plays the pieces behind a start; every exchange must tell what its pair says.
fn assert_paired(start: Start, pieces: &[(Direction, Piece)], what: &str) {
    let lines = start.play(pieces);
    for (id, (_, _, expected)) in PAIRS.iter().enumerate() {
        assert_eq!(told(&lines, id), *expected, "{start:?}, {what}, exchange {id}: {lines:#?}");
    }
    let all: usize = PAIRS.iter().map(|(_, _, expected)| expected.len()).sum();
    assert_eq!(lines.len(), all, "{start:?}, {what}: {lines:#?}");
}

fn requests() -> Vec<u8> {
    PAIRS.iter().flat_map(|(request, _, _)| request.iter().copied()).collect()
}

fn responses() -> Vec<u8> {
    PAIRS.iter().flat_map(|(_, response, _)| response.iter().copied()).collect()
}

/// Orders of so many requests and responses in which no response comes before its request; `true` is a request.
fn orders(requests: usize, responses: usize, begun: &[bool]) -> Vec<Vec<bool>> {
    if requests == 0 && responses == 0 {
        return vec![begun.to_vec()];
    }
    let mut all = Vec::new();
    if let Some(fewer) = requests.checked_sub(1) {
        all.extend(orders(fewer, responses, &[begun, &[true]].concat()));
    }
    if let Some(fewer) = responses.checked_sub(1).filter(|fewer| *fewer >= requests) {
        all.extend(orders(requests, fewer, &[begun, &[false]].concat()));
    }
    all
}

/// The messages in such an order, each with when it was said.
fn said(order: &[bool]) -> Vec<(Direction, &'static [u8], u64)> {
    let mut requests = PAIRS.iter().map(|(request, _, _)| (Sent, *request));
    let mut responses = PAIRS.iter().map(|(_, response, _)| (Received, *response));
    let mut next = |is_request: &bool| {
        if *is_request { requests.next().unwrap() } else { responses.next().unwrap() }
    };
    let said = order.iter().zip((10..).step_by(10));
    said.map(|(is_request, at_ns)| (next(is_request), at_ns))
        .map(|((way, bytes), at_ns)| (way, bytes, at_ns))
        .collect()
}

#[test]
fn burst_before_any_response_is_paired_however_either_side_is_cut() {
    let (requests, responses) = (requests(), responses());
    for start in STARTS {
        for cut in 0..=requests.len() {
            let (first, second) = requests.split_at(cut);
            let parts = [(Sent, first, 10), (Sent, second, 20), (Received, &*responses, 30)];
            assert_paired(start, &data(&parts), &format!("requests cut at {cut}"));
        }
        for cut in 0..=responses.len() {
            let (first, second) = responses.split_at(cut);
            let parts = [(Sent, &*requests, 10), (Received, first, 20), (Received, second, 30)];
            assert_paired(start, &data(&parts), &format!("responses cut at {cut}"));
        }
        for size in [1, 2, 3, 7, 50] {
            let sent = requests.chunks(size).map(|part| (Sent, part));
            let received = responses.chunks(size).map(|part| (Received, part));
            let parts = sent.chain(received).zip(10..);
            let parts: Vec<_> = parts.map(|((way, part), at_ns)| (way, part, at_ns)).collect();
            assert_paired(start, &data(&parts), &format!("pieces of {size}"));
        }
    }
}

fn data(parts: &[(Direction, &[u8], u64)]) -> Vec<(Direction, Piece)> {
    let full = parts.iter().filter(|(_, bytes, _)| !bytes.is_empty());
    full.map(|(direction, bytes, at_ns)| (*direction, recorder::data(*at_ns, bytes))).collect()
}

#[test]
fn every_order_of_whole_messages_is_paired() {
    let orders = orders(PAIRS.len(), PAIRS.len(), &[]);
    assert_eq!(orders.len(), 132, "the sixth Catalan number");
    for start in STARTS {
        for order in &orders {
            let parts = said(order);
            assert_paired(start, &data(&parts), &format!("{order:?}"));
            // Responses that come byte by byte, requests cut in the middle.
            let cut = parts.iter().flat_map(|(way, bytes, at_ns)| {
                let size = [1, bytes.len() / 2 + 1][usize::from(*way == Sent)];
                bytes.chunks(size).map(|part| (*way, part, *at_ns)).collect::<Vec<_>>()
            });
            assert_paired(start, &data(&cut.collect::<Vec<_>>()), &format!("cut {order:?}"));
        }
    }
}

/// Bytes of the responses to those requests of which all bytes are among the first `sent`.
fn answerable(sent: usize) -> usize {
    let sent_by = |count| PAIRS.iter().take(count).flat_map(|(request, ..)| *request).count();
    let whole = (0..=PAIRS.len()).rev().find(|count| sent_by(*count) <= sent).unwrap();
    PAIRS.iter().take(whole).flat_map(|(_, response, _)| *response).count()
}

#[test]
fn responses_begin_while_a_later_request_is_on_its_way() {
    let (requests, responses) = (requests(), responses());
    let behind_first = PAIRS[0].0.len();
    for start in STARTS {
        for sent in behind_first..requests.len() {
            let answered = answerable(sent);
            let parts = [
                (Sent, &requests[..sent], 10),
                (Received, &responses[..answered], 20),
                (Sent, &requests[sent..], 30),
                (Received, &responses[answered..], 40),
            ];
            assert_paired(start, &data(&parts), &format!("{sent} bytes sent first"));
        }
    }
}

#[test]
fn pipeline_that_breaks_off_ends_each_call_once_and_tells_only_what_came() {
    let (requests, responses) = (requests(), responses());
    for start in STARTS {
        for cut in 0..responses.len() {
            let parts = [(Sent, &*requests, 10), (Received, &responses[..cut], 20)];
            let lines = start.play(&data(&parts));
            let mut end = 0;
            for (id, (_, response, whole)) in PAIRS.iter().enumerate() {
                let came = cut.saturating_sub(end).min(response.len());
                end += response.len();
                let own = told(&lines, id);
                let right = is_right(&own, whole, (came, response.len()));
                assert!(right, "{start:?}, {cut} bytes, exchange {id}: {lines:#?}");
            }
        }
    }
}

/// Whether an exchange tells what it would whole, as far as its response came, and where that was cut, that it was
/// broken off, once.
fn is_right(own: &[String], whole: &[&str], (came, length): (usize, usize)) -> bool {
    if came == length {
        return own == whole;
    }
    let Some((end, before)) = own.split_last() else { return false };
    let begins_it = |(whole, own): (&&str, &String)| {
        whole == own || own.starts_with("< ") && whole.starts_with(own.as_str())
    };
    let ends = before.iter().any(|line| line.starts_with("<|"));
    let answered = before.iter().any(|line| line.starts_with(char::is_numeric));
    let right_end = end == "<| Aborted" && !ends && (came > 0 || !answered);
    right_end && whole.iter().zip(before).all(begins_it)
}

#[test]
fn connection_goes_on_behind_a_pipeline() {
    for start in STARTS {
        let (requests, responses) = (requests(), responses());
        let parts = [
            (Sent, &*requests, 10),
            (Received, &*responses, 20),
            (Sent, b"GET /6 HTTP/1.1\r\n\r\n", 30),
            (Received, b"HTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n", 40),
            (Sent, b"GET /7 HTTP/1.1\r\n\r\nGET /8 HTTP/1.1\r\n\r\n", 50),
            (Received, b"HTTP/1.1 207 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 208 OK\r\n", 60),
            (Received, b"Content-Length: 0\r\n\r\n", 70),
        ];
        let lines = start.play(&data(&parts));
        for id in 6..9 {
            let expected = [
                format!("GET /{id} at  "),
                ">| Complete".into(),
                format!("20{id} "),
                "<| Complete".into(),
            ];
            assert_eq!(told(&lines, id), expected, "{start:?}");
        }
    }
}

#[test]
fn pipeline_beyond_the_bound_is_paired_with_nobody() {
    let config = Config { exchanges_pending_max: 4, ..Config::default() };
    let (mut connection, mut recorder) = (Connection::new(&config, Sent), Recorder::default());
    connection.push(Sent, &recorder::data(10, &requests()), &mut recorder);
    for status in [200, 202, 203] {
        let head = format!("HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n");
        connection.push(Received, &recorder::data(20, head.as_bytes()), &mut recorder);
    }
    connection.close(CLOSE_NS, &mut recorder);
    for id in 0..PAIRS.len() {
        let own = told(&recorder.lines, id);
        let answers = own.iter().filter(|line| line.starts_with(char::is_numeric)).count();
        assert_eq!((own.last().unwrap().as_str(), answers), ("<| Aborted", 0), "exchange {id}");
    }
    let metrics = connection.metrics();
    assert_eq!((metrics.unanswered_requests, metrics.orphan_responses), (6, 3));
}
