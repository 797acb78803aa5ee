//! A conversation comes in; in order, and cut, doubled and out of order as rings of several processors give it, it must
//! come to the same calls.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sensor_user::http;
use sensor_user::http::{BodyEnd, Decoder, Event, ExchangeId, Protocol, Sink};
use sensor_user::provider::{Catalogue, Config, Tracker};
use sensor_user::reassembly::{self, Chunk, Direction, Loss, Start, Table};

use crate::input::{self, Choices, Step};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(Catalogue::bundled().expect("the bundled rows are good")));

/// Hands events on and notes whether a coded body was broken: how much comes out of one depends on its pieces.
struct Watch {
    tracker: Tracker,
    broken: bool,
}

impl Sink for Watch {
    fn event(&mut self, id: ExchangeId, at_ns: u64, event: Event<'_>) {
        self.broken |= matches!(
            event,
            Event::RequestEnd(BodyEnd::Undecodable) | Event::ResponseEnd(BodyEnd::Undecodable)
        );
        self.tracker.event(id, at_ns, event);
    }
}

/// The stages of one connection.
struct Path {
    table: Table<u8>,
    decoder: Decoder,
    watch: Watch,
    /// Offsets of the next bytes of both directions.
    next: [u64; 2],
}

/// Runs one input: a byte of options, then a conversation.
pub(crate) fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let steps = input::conversation(rest);
    let mut choices = Choices::of(data);
    let (calls, strict) = play(&steps, *options, None);
    let (other_calls, other_strict) = play(&steps, *options, Some(&mut choices));
    if options & 1 == 0 && input::is_gapless(&steps) && strict && other_strict {
        assert_eq!(calls, other_calls, "order changes the calls");
    }
}

/// The calls, and whether nothing in them was read by a guess.
fn play(steps: &[Step], options: u8, mut choices: Option<&mut Choices>) -> (String, bool) {
    let start = if options & 1 == 0 { Start::Fresh } else { Start::Joined };
    let mut path = Path {
        table: Table::new(&reassembly::Config::default()),
        decoder: Decoder::new(&http::Config::default()),
        watch: Watch {
            tracker: Tracker::new(Arc::clone(&CATALOGUE), Config::default(), "api.openai.com"),
            broken: false,
        },
        next: [0; 2],
    };
    let _none = path.table.open(0, start, 0);
    for (step, at_ns) in steps.iter().zip(1..) {
        match step {
            Step::Missing(direction, bytes) => {
                let len = bytes.unwrap_or(1);
                let offset = path.advance(*direction, len);
                path.take(*direction, Err(Loss { offset, at_ns, len }));
            }
            Step::Said(direction, said) => {
                let parts = match &mut choices {
                    Some(choices) => choices.parts(said),
                    None => vec![said.as_slice()],
                };
                let mut chunks = Vec::new();
                for bytes in parts {
                    let offset = path.advance(*direction, u64::try_from(bytes.len()).unwrap_or(0));
                    chunks.push(Chunk { offset, at_ns, bytes: Bytes::copy_from_slice(bytes) });
                }
                if let Some(choices) = &mut choices {
                    disorder(&mut chunks, choices);
                }
                for chunk in chunks {
                    path.take(*direction, Ok(chunk));
                }
            }
        }
    }
    path.end()
}

/// Swaps neighbours and doubles some; the first chunk of a step stays, as it tells where a joined direction begins.
fn disorder(chunks: &mut Vec<Chunk>, choices: &mut Choices) {
    for at in 2..chunks.len() {
        if choices.below(3) == 0 {
            chunks.swap(at, at - 1);
        }
    }
    if let Some(again) = chunks.get(choices.below(chunks.len())).cloned() {
        chunks.push(again);
    }
}

impl Path {
    fn advance(&mut self, direction: Direction, bytes: u64) -> u64 {
        let next = &mut self.next[usize::from(direction == Direction::Received)];
        let offset = *next;
        *next = next.saturating_add(bytes);
        offset
    }

    fn take(&mut self, direction: Direction, part: Result<Chunk, Loss>) {
        let mut pieces = Vec::new();
        let _none = match part {
            Ok(chunk) => self.table.push(0, direction, chunk, &mut pieces),
            Err(loss) => self.table.lose(0, direction, loss, &mut pieces),
        };
        for piece in pieces {
            self.decoder.push(direction, piece, &mut self.watch);
        }
    }

    fn end(mut self) -> (String, bool) {
        let (decoder, watch) = (&mut self.decoder, &mut self.watch);
        self.table.close(0, 1_000_000, |direction, pieces| {
            for piece in pieces.drain(..) {
                decoder.push(direction, piece, watch);
            }
        });
        decoder.close(1_000_000, watch);
        let tracker = &mut watch.tracker;
        tracker.close(1_000_000);
        let calls: Vec<_> = tracker.take_calls().collect();
        let strict = !watch.broken
            && match decoder.protocol() {
                Some(Protocol::Http1) => {
                    decoder.metrics().is_some_and(|counted| counted.resyncs == 0)
                }
                Some(Protocol::Http2) => decoder
                    .http2_metrics()
                    .is_some_and(|counted| counted.resyncs == 0 && counted.requests_unseen == 0),
                Some(Protocol::Other) | None => false,
            }
            && calls.iter().all(|call| !call.method.is_empty() && call.status.is_some());
        (format!("{calls:?} {:?} {:?}", watch.tracker.verdict(), watch.tracker.metrics()), strict)
    }
}
