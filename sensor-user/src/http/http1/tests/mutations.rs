//! Damaged conversations come in, cut and holed at random; the order of the events must hold, whatever they say.

use std::collections::HashMap;

use super::*;
use crate::http::{AfterGap, Event, ExchangeId, Message, Sink};

/// How far one message of an exchange is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Head,
    Ended,
}

/// Refuses events that come out of order.
#[derive(Default)]
struct Order {
    exchanges: HashMap<ExchangeId, (Stage, Stage, bool)>,
}

impl Order {
    fn over(&self) -> bool {
        self.exchanges.values().all(|(request, _, over)| *over && *request != Stage::Head)
    }
}

impl Sink for Order {
    fn event(&mut self, id: ExchangeId, _at_ns: u64, event: Event<'_>) {
        let (request, response, over) = self.exchanges.entry(id).or_default();
        assert!(!*over, "{event:?} behind the end");
        match event {
            Event::Request(_) => {
                assert_eq!((*request, *response), (Stage::Nothing, Stage::Nothing));
                *request = Stage::Head;
            }
            Event::RequestBody(_) => assert_eq!(*request, Stage::Head),
            Event::RequestEnd(_) => {
                assert_eq!(std::mem::replace(request, Stage::Ended), Stage::Head);
            }
            Event::Response(_) => {
                assert_eq!(std::mem::replace(response, Stage::Head), Stage::Nothing);
            }
            Event::ResponseBody(_)
            | Event::Trailers(_)
            | Event::MessageData(..)
            | Event::MessageEnd(..) => {
                assert_eq!(*response, Stage::Head);
            }
            Event::ResponseEnd(_) | Event::Upgraded(_) => {
                assert_ne!(*request, Stage::Head);
                *over = true;
            }
            Event::WebSocket(_) => {
                assert_ne!(*request, Stage::Head);
                assert_eq!(std::mem::replace(response, Stage::Head), Stage::Nothing);
            }
        }
    }

    fn body_gap(&mut self, id: ExchangeId, _at_ns: u64, of: Message, missing: u64) -> AfterGap {
        let (request, response, over) = self.exchanges[&id];
        let stage = if of == Message::Request { request } else { response };
        assert!(stage == Stage::Head && !over && missing > 0);
        if missing.is_multiple_of(2) { AfterGap::Resume } else { AfterGap::Withhold }
    }
}

/// A small generator of the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap().checked_rem(bound).unwrap_or(0)
    }

    /// The bytes with some of them replaced by ones that mean something to a parser.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        const TELLING: &[u8] = b"\r\n :;0fFG/\x00\xff";
        let mut damaged = bytes.to_vec();
        for _ in 0..self.below(4) {
            let (at, with) = (self.below(damaged.len()), self.below(TELLING.len()));
            damaged[at] = TELLING[with];
        }
        damaged
    }

    /// The bytes as pieces, some of them missing.
    fn pieces(&mut self, mut bytes: &[u8], at_ns: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let size = self.below(bytes.len().min(40)).saturating_add(1);
            let (piece, rest) = bytes.split_at(size);
            bytes = rest;
            pieces.push(match self.below(30) {
                0 => Piece::Gap { at_ns, bytes: u64::try_from(size).ok() },
                _ => recorder::data(at_ns, piece),
            });
        }
        pieces
    }
}

#[test]
fn damage_never_breaks_the_order_of_events() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut exchanges = 0;
    for round in 0..4000 {
        let (_, conversation, _) = corpus::CASES[random.below(corpus::CASES.len())];
        let mut connection = Connection::new(&Config::default(), Sent);
        let mut order = Order::default();
        for ((direction, bytes), at_ns) in conversation.iter().chain(conversation.iter()).zip(1..) {
            let damaged = random.damage(bytes);
            for piece in random.pieces(&damaged, at_ns) {
                connection.push(*direction, &piece, &mut order);
            }
        }
        connection.close(CLOSE_NS, &mut order);
        assert!(order.over(), "round {round}");
        exchanges += order.exchanges.len();
    }
    assert!(exchanges > 4000, "{exchanges}");
}
