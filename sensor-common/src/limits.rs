//! Every bound that both halves share, with its unit and reason.

/// Payload bytes of the smallest record: short SSE chunks, names.
pub const TIER_SMALL: usize = 256;
/// Payload bytes of the next tier: SSE chunks with an obfuscation field.
pub const TIER_CHUNK: usize = 512;
/// Payload bytes of the next tier: heads of requests and responses.
pub const TIER_MEDIUM: usize = 1024;
/// Payload bytes of the next tier: several chunks that came together.
pub const TIER_BATCH: usize = 3072;
/// Payload bytes of the next tier: short prompts.
pub const TIER_LARGE: usize = 8192;
/// Payload bytes of the largest tier: two full TLS records.
pub const TIER_HUGE: usize = 32768;

/// Chunks copied of one TLS call; the kernel allows 33 tail calls in a row. What lies beyond is a known gap.
pub const CHUNKS_PER_CALL_MAX: u32 = 32;

/// Payload bytes captured in each direction of a connection before the agent has decided whether it is AI traffic: a
/// whole call of usual size, because a fast answer is over before the decision reaches the kernel.
pub const PROBATION_BYTES_MAX: u64 = 256 * 1024;

/// Longest host name that is matched in the kernel, a power of two; RFC 1035 allows 253, no AI provider needs more.
pub const NAME_MAX: usize = 128;
/// Bytes of a name that are looked at, from its end; the verifiers of older kernels follow no longer loop.
pub const NAME_SCAN_MAX: u32 = 96;

/// Bytes of a ClientHello's client random (RFC 8446, 4.1.2), and of the part of a record that identifies it on the wire.
pub const WIRE_KEY_LEN: usize = 32;

/// TLS objects followed at once; the least recently used one gives way.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// Arriving records remembered at once until they are opened; the oldest gives way.
pub const HEARD_MAX: u32 = 8_192;
/// Sockets remembered at once; the least recently used one gives way.
pub const SOCKETS_MAX: u32 = 65_536;
/// Threads inside a TLS call at once.
pub const CALLS_MAX: u32 = 16_384;
/// Goroutines inside a TLS call at once; a panic may leave a call without its return, so the oldest gives way.
pub const GO_CALLS_MAX: u32 = 16_384;
/// Processes that carry probes at once.
pub const PROCESSES_MAX: u32 = 8_192;
/// Host names and patterns of AI providers.
pub const NAMES_MAX: u32 = 4_096;
/// Addresses learnt from DNS answers about AI names.
pub const ADDRESSES_MAX: u32 = 16_384;
/// Short names of programs that made AI calls before.
pub const PROGRAMS_MAX: u32 = 1_024;

/// Bytes of a segment that are handed up in search of a ClientHello: a classic one, over Ethernet also a segment's share.
pub const OPENING_SMALL: usize = 1536;
/// Bytes of a longer segment that are handed up: twice a post-quantum hello; what lies behind is not read.
pub const OPENING_LARGE: usize = 4096;
/// Bytes of a segment of a name server that are handed up: answers with more are rare, and of these the begin counts.
pub const DNS_SEGMENT: usize = 4096;
/// ClientHellos that are under way at once, the rest of them still to be sent; the least recently used one gives way.
pub const OPENINGS_MAX: u32 = 1_024;
/// Segments handed up of one socket: a hello sent byte by byte has about 500.
pub const OPENING_SEGMENTS_MAX: u32 = 2_048;
/// Time for which segments are looked at after the begin of a hello whose rest is missing.
pub const OPENING_WAIT_NS: u64 = 10_000_000_000;
/// Shortest datagram with a client's first QUIC packet (RFC 9000, 14.1), with the head of UDP.
pub const QUIC_INITIAL_MIN: u32 = 1_208;
/// Such datagrams handed up in a second, of the whole machine; more are counted.
pub const QUIC_PER_SECOND_MAX: u64 = 512;

/// Bytes of the ring that carries plaintext, unless configured.
pub const DATA_RING_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of the ring that carries processes, sockets and names.
pub const EVENT_RING_BYTES: u32 = 1024 * 1024;

/// Processes, and cgroups, that have a class of their own.
pub const SUBJECTS_MAX: u32 = 16_384;
/// Classes of subjects.
pub const CLASSES_MAX: u32 = 4_096;
/// Addresses that somebody said lead to one AI destination and nowhere else.
pub const DEDICATED_MAX: u32 = 4_096;
/// Compiled verdicts: classes times what they are told about destinations, keys and models.
pub const RULES_MAX: u32 = 65_536;
/// ClientHellos that are being read at once.
pub const HELLOS_MAX: u32 = 512;
/// Bytes of a ClientHello that are read: twice what a post-quantum one takes. A longer one counts as unreadable where its name
/// does not stand in them.
pub const HELLO_BYTES_MAX: usize = 4_096;
/// Room for the above and one more message.
pub const HELLO_BUFFER_BYTES: usize = 2 * HELLO_BYTES_MAX;
/// Time from the first part of a ClientHello to its last.
pub const HELLO_WAIT_NS: u64 = 10_000_000_000;
/// Messages after which a socket that has said no ClientHello is taken for something else than TLS.
pub const HELLO_MESSAGES_MAX: u32 = 8;
/// Bytes that have to have left besides: more than proxies take before a ClientHello, so that a greeting in small writes ends
/// no watch. A connection without TLS pays for its first messages only, the smaller they are the more of them.
pub const GREETING_BYTES_MAX: u64 = 65_536;
/// Heads of requests that are being judged at once.
pub const HEADS_MAX: u32 = 1_024;
/// Bytes of a write that are looked at in the kernel at once: the head of a request, and the begin of its body.
pub const HEAD_BYTES_MAX: usize = 2_048;
/// Looks at a write after the first, for the model: each is a tail call, of which the kernel makes 33. The last one is at the
/// end of the write.
pub const LOOKS_MAX: u32 = 26;
/// Bytes of the look before that the next one sees again: the name of a model, its key and what is between are fewer.
pub const LOOK_OVERLAP: u32 = 128;
/// Bytes of the ring that carries what the gate did.
pub const GATE_RING_BYTES: u32 = 1024 * 1024;
/// Blocks of a credential that are hashed in the kernel; a longer one (a token with claims) is the agent's to judge.
pub const KEY_BLOCKS_MAX: usize = 3;
/// Bytes of such a credential: padding takes nine.
pub const KEY_BYTES_MAX: u32 = 183;
/// Bytes of a path that are compared with rules.
pub const PATH_SCAN_MAX: u32 = 128;
/// Bytes of a path whose last segments are compared with rules.
pub const TAIL_SCAN_MAX: u32 = 256;
/// Bytes of a model's name that are compared with rules: with its key it fits into `LOOK_OVERLAP`.
pub const MODEL_SCAN_MAX: u32 = 96;
/// Automata of models' names kept at once: the one in force, the one before, and one that is being written.
pub const FORMS_MAX: u32 = 3;
/// States of such an automaton: patterns that need more are left to the agent.
pub const FORM_STATES_MAX: usize = 4_096;
/// Bytes of a credential by which its kind is told.
pub const KEY_PREFIX_MAX: u32 = 24;
/// Reasons whose words are kept.
pub const REASONS_MAX: u32 = 4_096;
/// Bytes of the words of a reason.
pub const REASON_BYTES_MAX: usize = 128;
