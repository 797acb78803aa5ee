//! Everything that is known of one call comes in; its line of flat attributes goes out.

use jiff::Timestamp;

use crate::credential::Identity;
use crate::policy::Decision;
use crate::provider::Call;
use crate::provider::Usage;
use crate::provider::catalogue::Category;
use crate::report::attributes::Attributes;
use crate::report::event::Process;
use crate::report::event::Ruled;
use crate::report::event::Server;
use crate::report::event::Tls;
use crate::report::words;
use crate::spend::Cost;
use crate::spend::Gap;
use crate::spend::format_usd;

/// One call to an AI provider with all that is known of it.
#[derive(Clone, Debug)]
pub struct CallEvent {
    /// Wall-clock time of the call's end.
    pub time: Timestamp,
    /// The call. Its secret must have been taken out (`Call::credential` is not read here).
    pub call: Call,
    /// Its price.
    pub cost: Cost,
    /// What is kept of its key.
    pub identity: Option<Identity>,
    /// Who made it.
    pub process: Process,
    /// Address of the socket's peer; `server.address` is the name in the request.
    pub server: Server,
    /// How the TLS object was bound to the socket (`client_random`, `wire_record`, `descriptor`, `unique`).
    pub binding: Option<&'static str>,
    /// TLS library.
    pub tls: Tls,
    /// Whether the ClientHello hid the name of the server; none where that was not seen.
    pub name_hidden: Option<bool>,
    /// What the policies say; none where there are none.
    pub decision: Option<Box<Decision>>,
}

impl CallEvent {
    /// Nanoseconds from the first byte of the request to the last of the response.
    pub fn duration_ns(&self) -> u64 {
        self.call.ended_ns.saturating_sub(self.call.started_ns)
    }

    /// Nanoseconds from the first byte of the request to the first token of a streamed answer.
    pub fn first_token_ns(&self) -> Option<u64> {
        self.call.first_token_ns.map(|token| token.saturating_sub(self.call.started_ns))
    }

    /// The model that answered, else the one that was asked for.
    pub fn model(&self) -> Option<&str> {
        self.call.response_model.as_deref().or(self.call.request_model.as_deref())
    }

    /// The counts that the call adds to sums; `None` where another call has added them.
    pub(super) fn added(&self) -> Option<&Usage> {
        Some(&self.call.usage).filter(|_| !self.call.repeated)
    }

    /// The call as one line of JSON, without its end.
    pub fn line(&self, host: &str) -> String {
        let call = &self.call;
        let mut line = Attributes::new("tollgate.call", self.time, host);
        line.put_process(&self.process);
        let name = Some(&call.server_address)
            .filter(|name| !name.is_empty())
            .or(self.server.name.as_ref());
        Server { name: name.cloned(), peer: self.server.peer }.put(&mut line);
        // A response of a session has the status of the handshake; RFC 6455, 4.1: the version is 13.
        let (protocol, version) = match call.status {
            Some(101) => ("websocket", "13"),
            _ => ("http", call.protocol_version),
        };
        line.put("network.protocol.name", Some(protocol));
        line.put("network.protocol.version", Some(version));
        self.tls.put(&mut line);
        line.put("tollgate.tls.name_hidden", self.name_hidden);
        line.put("tollgate.binding", self.binding);
        line.put("gen_ai.provider.name", Some(call.provider.as_str()));
        line.put("tollgate.provider.category", call.category.map(Category::as_str));
        line.put("gen_ai.operation.name", Some(call.operation.as_str()));
        line.put("gen_ai.request.model", call.request_model.as_deref());
        line.put("gen_ai.response.model", call.response_model.as_deref());
        line.put("gen_ai.response.id", call.response_id.as_deref());
        self.put_usage(&mut line);
        line.put(
            "http.request.method",
            Some(call.method.as_str()).filter(|method| !method.is_empty()),
        );
        line.put("url.path", Some(call.path.as_str()).filter(|path| !path.is_empty()));
        line.put("http.request.resend_count", call.retry_count);
        line.put("http.response.status_code", call.status);
        line.put("rpc.grpc.status_code", call.rpc_status);
        line.put("error.type", call.error_type.as_deref());
        line.put(
            "tollgate.credential.fingerprint",
            self.identity.as_ref().map(|key| key.fingerprint.as_str()),
        );
        line.put("tollgate.credential.kind", self.identity.as_ref().map(|key| key.kind));
        line.put("tollgate.credential.hint", self.identity.as_ref().map(|key| key.hint.as_str()));
        line.put(
            "tollgate.cost.usd",
            self.cost.picodollars.map(|amount| format_usd(i128::from(amount))),
        );
        line.put("tollgate.cost.basis", Some(self.cost.basis.as_str()));
        line.put("tollgate.cost.gap", self.cost.gap.map(Gap::as_str));
        line.put("tollgate.cost.table", self.cost.table.as_deref());
        Ruled::tell(self.decision.as_ref().map(|decision| decision.told()), &mut line);
        line.put("tollgate.stream", Some(call.stream));
        line.put("tollgate.repeated", call.repeated.then_some(true));
        line.put("tollgate.coverage", Some(words::coverage(call.complete)));
        line.put_millis("tollgate.duration_ms", Some(self.duration_ns()));
        let first_byte = call.first_byte_ns.map(|byte| byte.saturating_sub(call.started_ns));
        line.put_millis("tollgate.time_to_first_byte_ms", first_byte);
        line.put_millis("tollgate.time_to_first_token_ms", self.first_token_ns());
        line.into_line()
    }

    fn put_usage(&self, line: &mut Attributes) {
        let usage = &self.call.usage;
        let tokens = Tokens::of(usage);
        line.put("gen_ai.usage.input_tokens", tokens.input);
        line.put("gen_ai.usage.output_tokens", tokens.output);
        line.put("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
        line.put("gen_ai.usage.cache_creation.input_tokens", tokens.cache_write);
        line.put("gen_ai.usage.reasoning.output_tokens", usage.output_reasoning);
        let classes = [
            ("cache_write_5m", usage.cache_write_5m),
            ("cache_write_30m", usage.cache_write_30m),
            ("cache_write_1h", usage.cache_write_1h),
            ("cache_write_12h", usage.cache_write_12h),
            ("input_audio", usage.input_audio),
            ("input_image", usage.input_image),
            ("cache_read_audio", usage.cache_read_audio),
            ("cache_read_image", usage.cache_read_image),
            ("output_audio", usage.output_audio),
            ("output_image", usage.output_image),
            ("web_searches", usage.web_searches),
            ("file_searches", usage.file_searches),
            ("search_units", usage.search_units),
            ("pages", usage.pages),
            ("audio_ms", usage.audio_millis),
        ];
        for (class, count) in classes {
            line.put(&format!("tollgate.usage.{class}"), count);
        }
        line.put("tollgate.usage.quality", Some(words::quality(self.call.usage_quality)));
    }
}

/// Token counts as OpenTelemetry adds them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// All input tokens: fresh, read from and written to a cache.
    pub(super) input: Option<u64>,
    /// Input tokens written to a cache.
    pub(super) cache_write: Option<u64>,
    /// All output tokens, reasoning included.
    pub(super) output: Option<u64>,
}

impl Tokens {
    pub(super) fn of(usage: &Usage) -> Self {
        let cache_write = sum([
            usage.cache_write_5m,
            usage.cache_write_30m,
            usage.cache_write_1h,
            usage.cache_write_12h,
        ]);
        // A cache count alone is not the input: the total stays unknown without the fresh part.
        let input = usage
            .input_uncached
            .and_then(|fresh| sum([Some(fresh), usage.cache_read, cache_write]));
        Self { input, cache_write, output: usage.output }
    }
}

/// Sum of the counts that are known; unknown where none is.
fn sum<const N: usize>(counts: [Option<u64>; N]) -> Option<u64> {
    counts.into_iter().flatten().reduce(u64::saturating_add)
}
