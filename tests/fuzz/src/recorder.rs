//! HTTP events come in; what was told of each exchange goes out, with the order of its events checked.

use std::collections::BTreeMap;

use sensor_user::http::{AfterGap, BodyEnd, Event, ExchangeId, Header, Headers, Message, Sink};

/// How far one message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Head,
    Ended,
}

/// One message of an exchange.
#[derive(Debug, Default)]
struct Told {
    stage: Stage,
    head: String,
    body: Vec<u8>,
    /// Lengths of the body at which bytes were missing, with how many.
    gaps: Vec<(usize, u64)>,
    end: Option<(u64, BodyEnd)>,
}

/// The messages of one side, and how each ended.
#[derive(Debug, Default)]
struct Messages {
    open: Vec<u8>,
    told: Vec<(u64, BodyEnd, Vec<u8>)>,
}

/// What was told of one exchange.
#[derive(Debug, Default)]
struct Exchange {
    request: Told,
    response: Told,
    upgraded: Option<String>,
    /// Fields behind the response's body.
    trailers: Vec<String>,
    /// Messages of a `WebSocket`, of the client and of the server.
    messages: [Messages; 2],
    /// Kinds of events, in their order, bodies left out.
    order: String,
}

/// Keeps what a decoder said.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    exchanges: BTreeMap<u64, Exchange>,
    resume: bool,
    guessed: bool,
}

fn fields(headers: &Headers) -> String {
    let field = |field: &Header| {
        let name = field.name.as_deref().map(|name| name.escape_ascii().to_string());
        format!("{name:?}={}", field.value.expose().escape_ascii())
    };
    let fields: Vec<_> = headers.fields.iter().map(field).collect();
    format!("incomplete={} {}", headers.incomplete, fields.join(" "))
}

impl Recorder {
    /// Makes a sink that wants the bytes behind a gap, or not.
    pub(crate) fn new(resume: bool) -> Self {
        Self { resume, ..Self::default() }
    }

    /// Asserts that nothing is left open, as must be after a close.
    pub(crate) fn assert_over(&self) {
        for (id, exchange) in &self.exchanges {
            let over = exchange.response.end.is_some() || exchange.upgraded.is_some();
            assert!(over && exchange.request.stage != Stage::Head, "exchange {id} was left open");
        }
    }

    /// Whether a head was made up because its own was not seen; what follows it is read by guesses at each piece.
    pub(crate) fn has_guesses(&self) -> bool {
        self.guessed
    }

    /// Asserts that another recorder was told the same.
    pub(crate) fn assert_same(&self, other: &Self, why: &str) {
        let ids = |recorder: &Self| recorder.exchanges.keys().copied().collect::<Vec<_>>();
        assert_eq!(ids(self), ids(other), "{why}: exchanges");
        for ((id, one), two) in self.exchanges.iter().zip(other.exchanges.values()) {
            assert_eq!(one.order, two.order, "{why}: order of events of {id}");
            assert_eq!(one.upgraded, two.upgraded, "{why}: upgrade of {id}");
            assert_eq!(one.trailers, two.trailers, "{why}: trailers of {id}");
            for (one, two) in one.messages.iter().zip(&two.messages) {
                assert_eq!(one.told, two.told, "{why}: messages of {id}");
            }
            one.request.assert_same(&two.request, &format!("{why}: request of {id}"));
            one.response.assert_same(&two.response, &format!("{why}: response of {id}"));
        }
    }
}

impl Told {
    fn assert_same(&self, other: &Self, why: &str) {
        assert_eq!(self.head, other.head, "{why}: head");
        assert_eq!(self.end, other.end, "{why}: end");
        let is_coded = self.head.contains("content-encoding");
        if is_coded && matches!(self.end, Some((_, BodyEnd::Undecodable | BodyEnd::Aborted))) {
            // How much of a broken coded body comes out before the fault depends on its library's buffers.
            let common = self.body.len().min(other.body.len());
            assert_eq!(self.body.get(..common), other.body.get(..common), "{why}: body");
        } else {
            assert_eq!(
                (&self.body, &self.gaps),
                (&other.body, &other.gaps),
                "{why}: body, {:?}",
                self.end
            );
        }
    }

    fn begin(&mut self, head: String) {
        assert_eq!(self.stage, Stage::Nothing, "a message has one head");
        self.stage = Stage::Head;
        self.head = head;
    }

    fn data(&mut self, bytes: &[u8]) {
        assert!(
            self.stage == Stage::Head && !bytes.is_empty(),
            "a body stands between head and end"
        );
        self.body.extend_from_slice(bytes);
    }
}

impl Sink for Recorder {
    fn event(&mut self, ExchangeId(id): ExchangeId, at_ns: u64, event: Event<'_>) {
        let exchange = self.exchanges.entry(id).or_default();
        let over = exchange.response.end.is_some() || exchange.upgraded.is_some();
        assert!(!over, "nothing follows the end of exchange {id}");
        match event {
            Event::Request(head) => {
                assert_eq!(exchange.response.stage, Stage::Nothing, "the request comes first");
                self.guessed |= head.method.is_empty();
                exchange.order.push('Q');
                exchange.request.begin(format!("@{at_ns} {head:?} {}", fields(&head.headers)));
            }
            Event::RequestBody(bytes) => exchange.request.data(bytes),
            Event::RequestEnd(end) => {
                assert_eq!(exchange.request.stage, Stage::Head, "an end follows a head");
                exchange.order.push('q');
                exchange.request.stage = Stage::Ended;
                exchange.request.end = Some((at_ns, end));
            }
            Event::Response(head) => {
                self.guessed |= head.status.is_none();
                exchange.order.push('A');
                exchange.response.begin(format!("@{at_ns} {head:?} {}", fields(&head.headers)));
            }
            Event::ResponseBody(bytes) => exchange.response.data(bytes),
            Event::Trailers(told) => {
                let is_open = exchange.response.stage == Stage::Head;
                assert!(is_open, "trailers stand behind a body");
                exchange.trailers.push(format!("@{at_ns} {}", fields(told)));
            }
            Event::ResponseEnd(end) => {
                assert_ne!(
                    exchange.request.stage,
                    Stage::Head,
                    "the request ends before its exchange"
                );
                exchange.order.push('a');
                exchange.response.end = Some((at_ns, end));
            }
            Event::WebSocket(head) => {
                assert_ne!(exchange.request.stage, Stage::Head, "a handshake has no body");
                exchange.order.push('w');
                exchange.response.begin(format!("@{at_ns} {head:?} {}", fields(&head.headers)));
            }
            Event::MessageData(of, bytes) => {
                assert!(exchange.response.stage == Stage::Head && !bytes.is_empty());
                exchange.messages[usize::from(of == Message::Response)].open.extend(bytes);
            }
            Event::MessageEnd(of, end) => {
                assert_eq!(exchange.response.stage, Stage::Head, "messages follow a handshake");
                let side = &mut exchange.messages[usize::from(of == Message::Response)];
                let mut message = std::mem::take(&mut side.open);
                if end != BodyEnd::Complete {
                    // How much of it comes out before a fault depends on the cut.
                    message.clear();
                }
                side.told.push((at_ns, end, message));
            }
            Event::Upgraded(head) => {
                assert_ne!(
                    exchange.request.stage,
                    Stage::Head,
                    "the request ends before its exchange"
                );
                exchange.order.push('u');
                exchange.upgraded = Some(format!("@{at_ns} {head:?} {}", fields(&head.headers)));
            }
        }
    }

    fn body_gap(&mut self, id: ExchangeId, _: u64, of: Message, missing: u64) -> AfterGap {
        let exchange = self.exchanges.entry(id.0).or_default();
        let told =
            if of == Message::Request { &mut exchange.request } else { &mut exchange.response };
        assert!(told.stage == Stage::Head && told.end.is_none(), "a gap lies in a body");
        told.gaps.push((told.body.len(), missing));
        if self.resume { AfterGap::Resume } else { AfterGap::Withhold }
    }
}
