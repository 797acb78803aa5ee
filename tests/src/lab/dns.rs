//! DNS questions come in on UDP and TCP; the addresses of the lab's hosts go out, and the names asked for are kept.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::lab::net::{address_of, address_v6_of};

/// Largest question read: the UDP limit of clients without EDNS is 512, with it 4,096 is usual.
const QUESTION_BYTES_MAX: usize = 4096;

/// Questions kept: far above any test, so that a loop in a client cannot fill memory.
const QUESTIONS_MAX: usize = 100_000;

/// Connections answered at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest life of a connection.
const IDLE: Duration = Duration::from_mins(1);

/// Seconds that a client may keep an answer.
const TTL_SECS: u32 = 60;

/// Names that clients asked for, in order, with the type of record.
#[derive(Clone, Debug, Default)]
pub struct Questions(Arc<Mutex<Vec<(String, u16)>>>);

impl Questions {
    /// Returns the questions so far: name and record type (1 is A, 28 is AAAA, 65 is HTTPS).
    pub fn all(&self) -> Vec<(String, u16)> {
        self.0.lock().map(|list| list.clone()).unwrap_or_default()
    }

    fn push(&self, name: String, kind: u16) {
        if let Ok(mut list) = self.0.lock()
            && list.len() < QUESTIONS_MAX
        {
            list.push((name, kind));
        }
    }
}

/// Binds the name server's sockets in the namespace of the calling thread.
pub async fn bind(address: Ipv4Addr) -> Result<(UdpSocket, TcpListener)> {
    let place = SocketAddr::from((address, 53));
    let socket = UdpSocket::bind(place).await.context("binding the name server")?;
    let listener = TcpListener::bind(place).await.context("binding the name server")?;
    Ok((socket, listener))
}

/// Answers questions over TCP until the listener fails; each answer leaves in three segments.
pub async fn serve_tcp(listener: TcpListener, questions: Questions, ipv6: bool) -> std::io::Error {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return std::io::Error::other("the name server is closed");
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        let questions = questions.clone();
        tokio::spawn(async move {
            // A client that goes away is no fault of the server.
            let _ended = tokio::time::timeout(IDLE, answer(stream, questions, ipv6)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, questions: Questions, ipv6: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = usize::from(stream.read_u16().await?);
        let mut question = vec![0; length.min(QUESTION_BYTES_MAX)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = reply(&question, &questions, ipv6) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.flush().await?;
        let (first, second) = answer.split_at(answer.len() / 2);
        for part in [first, second] {
            stream.write_all(part).await?;
            stream.flush().await?;
        }
    }
}

/// Answers questions until the socket fails; a name the lab does not have does not exist.
pub async fn serve(socket: UdpSocket, questions: Questions, ipv6: bool) -> std::io::Error {
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => return error,
        };
        let Some(answer) =
            buffer.get(..length).and_then(|question| reply(question, &questions, ipv6))
        else {
            continue;
        };
        if let Err(error) = socket.send_to(&answer, peer).await {
            return error;
        }
    }
}

fn reply(question: &[u8], questions: &Questions, ipv6: bool) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok()?;
    let mut answer = Packet::new_reply(asked.id());
    answer.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    for entry in &asked.questions {
        let name = entry.qname.to_string();
        questions.push(name.clone(), u16::from(entry.qtype));
        let Some(v4) = address_of(&name) else {
            *answer.rcode_mut() = RCODE::NameError;
            continue;
        };
        let data = match entry.qtype {
            QTYPE::TYPE(TYPE::A) => Some(RData::A(A { address: v4.to_bits() })),
            QTYPE::TYPE(TYPE::AAAA) if ipv6 => address_v6_of(&name)
                .map(Ipv6Addr::to_bits)
                .map(|address| RData::AAAA(AAAA { address })),
            _ => None,
        };
        if let Some(data) = data {
            answer.answers.push(ResourceRecord::new(
                entry.qname.clone(),
                CLASS::IN,
                TTL_SECS,
                data,
            ));
        }
    }
    answer.questions = asked.questions;
    answer.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    fn ask(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(
            name,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_known_name_has_an_address_and_an_unknown_one_does_not_exist() {
        const CASES: &[(&str, TYPE, usize, RCODE)] = &[
            ("api.openai.com", TYPE::A, 1, RCODE::NoError),
            ("api.openai.com", TYPE::AAAA, 1, RCODE::NoError),
            ("api.openai.com", TYPE::TXT, 0, RCODE::NoError),
            ("telemetry.example", TYPE::A, 0, RCODE::NameError),
        ];
        let questions = Questions::default();
        for (name, kind, answers, code) in CASES {
            let bytes = reply(&ask(name, *kind), &questions, true).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(
                (packet.id(), packet.answers.len(), packet.rcode()),
                (7, *answers, *code),
                "{name}"
            );
        }
        assert_eq!(questions.all().len(), CASES.len());
    }

    #[test]
    fn bytes_that_are_no_question_get_no_answer() {
        assert_eq!(reply(b"not dns", &Questions::default(), true), None);
    }
}
