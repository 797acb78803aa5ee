//! The events of one request and its response come in; the finished call goes out.

use crate::http::BodyEnd;
use crate::http::Headers;
use crate::http::RequestHead;
use crate::http::ResponseHead;
use crate::http::Version;
use crate::provider::Call;
use crate::provider::Operation;
use crate::provider::Provider;
use crate::provider::Shape;
use crate::provider::UsageQuality;
use crate::provider::answer::Reader;
use crate::provider::answer::is_error_word;
use crate::provider::grpc;
use crate::provider::place;
use crate::provider::request;
use crate::provider::request::Asked;
use crate::provider::response::Response;
use crate::provider::route::Route;
use crate::provider::target::Target;
use crate::provider::unlisted;
use crate::provider::usage;
use crate::provider::usage::clean;

/// One request under way.
#[derive(Debug)]
pub(super) struct Exchange {
    call: Call,
    route: Route,
    request: Option<request::Reader>,
    asked: Asked,
    response: Option<Response>,
    /// Amount that a gateway wrote into the response's head, in pico-dollars.
    gateway_cost: Option<i64>,
    pub(super) broken_bodies: u64,
}

impl Exchange {
    /// Begins with a request's head; without a provider the host is unlisted.
    pub(super) fn begin(
        provider: Option<&Provider>,
        (head, target, host): (&RequestHead, &Target, &str),
        route: Route,
        at_ns: u64,
    ) -> Self {
        let name = provider.map_or(unlisted::NAME, |p| &p.name);
        let own = || provider.map_or(unlisted::NAME, |p| &p.price).to_owned();
        let retry = |name| head.headers.get(name).and_then(number);
        let retry =
            retry("x-stainless-retry-count").or_else(|| retry("grpc-previous-rpc-attempts"));
        let call = Call {
            provider: name.to_owned(),
            price_provider: route.price.clone().unwrap_or_else(own),
            listed: provider.is_some(),
            operation: route.operation,
            server_address: clean(host).unwrap_or_default(),
            method: clean(&String::from_utf8_lossy(&head.method)).unwrap_or_default(),
            path: target.shown(),
            protocol_version: version(head.version),
            request_model: route.model.as_deref().and_then(clean),
            response_model: None,
            response_id: None,
            stream: route.streamed,
            status: None,
            rpc_status: None,
            error_type: None,
            usage: usage::Reading::default().usage,
            usage_quality: UsageQuality::Missing,
            context: usage::Reading::default().context,
            credential: place::find(provider, head, target),
            retry_count: retry,
            started_ns: at_ns,
            first_byte_ns: None,
            first_token_ns: None,
            ended_ns: at_ns,
            complete: true,
            repeated: route.repeated,
            category: provider.map(|p| p.category),
            head_complete: !head.headers.incomplete,
        };
        let request = Some(request::Reader::new(&head.headers, &route));
        let geo = provider.and_then(|p| p.geo_of(host));
        let route = Route { geo: route.geo.clone().or(geo), ..route };
        Self {
            call,
            route,
            request,
            asked: Asked::default(),
            response: None,
            gateway_cost: None,
            broken_bodies: 0,
        }
    }

    /// The call so far.
    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    /// Takes bytes of the request's body.
    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        if let Some(request) = &mut self.request {
            request.push(bytes);
        }
    }

    /// Ends the request: what it asked for is known.
    pub(super) fn request_end(&mut self, end: BodyEnd) {
        let Some(request) = self.request.take() else { return };
        self.asked = request.asked();
        self.broken_bodies = self.broken_bodies.saturating_add(u64::from(request.is_broken()));
        // A deployment or model in the path is what decides; the body often repeats it.
        if self.call.request_model.is_none() {
            self.call.request_model.clone_from(&self.asked.model);
        }
        self.call.stream |= self.asked.stream;
        self.call.complete &= !is_hole(end);
        if self.route.shape == Shape::Guess && self.asked.has_input {
            self.call.operation = Operation::Chat;
        }
        let model = self.call.request_model.as_deref();
        if let Some(operation) = self.route.rpc.and_then(|rpc| rpc.operation(model)) {
            self.call.operation = operation;
        }
    }

    /// Whether this is an AI call: to a listed host always, to another if the body agrees with the path.
    pub(super) fn is_ai(&self) -> bool {
        self.call.listed || unlisted::agrees(&self.asked, self.route.model.is_some())
    }

    /// Takes the response's head.
    pub(super) fn response(&mut self, head: &ResponseHead, at_ns: u64) {
        self.call.status = head.status;
        self.call.first_byte_ns = Some(at_ns);
        let text = |name: &str| clean(std::str::from_utf8(head.headers.get(name)?).ok()?);
        self.call.response_model = text("openai-model");
        if !self.call.listed {
            let cost = text("x-litellm-response-cost");
            let cost = cost.and_then(|cost| usage::scaled(&cost, 12));
            self.gateway_cost = cost.filter(|amount| *amount >= 0);
        }
        let mut response = Response::new(head, &self.route);
        let tier = text("x-amzn-bedrock-service-tier").or_else(|| text("x-gemini-service-tier"));
        response.answer.service_tier = tier;
        if let Some(name) = text("x-amzn-errortype") {
            // `Name:http://…`
            response.answer.fail(name.split(':').next().unwrap_or_default());
        }
        self.response = Some(response);
        // An answer of gRPC without a message has its trailers here.
        self.trailers(&head.headers);
    }

    /// Takes the fields behind the response's body: the last word of a gRPC call.
    pub(super) fn trailers(&mut self, fields: &Headers) {
        self.call.rpc_status = grpc::status(fields).or(self.call.rpc_status);
        if let (Some(response), Some(code)) = (&mut self.response, self.call.rpc_status) {
            match code {
                0 => response.answer.finished = true,
                code => response.answer.fail(grpc::name(code)),
            }
        }
    }

    /// Takes bytes of the response's body.
    pub(super) fn response_body(&mut self, bytes: &[u8], at_ns: u64) {
        if let Some(response) = &mut self.response {
            response.push(bytes, at_ns);
        }
    }

    /// The connection goes on in another protocol, which is not followed.
    pub(super) fn upgraded(mut self, head: &ResponseHead, at_ns: u64) -> Call {
        self.request_end(BodyEnd::Complete);
        self.response(head, at_ns);
        self.call.stream = true;
        self.call.complete = false;
        self.call.ended_ns = at_ns;
        self.call
    }

    /// Shape of the response that the path asks for.
    pub(super) fn shape(&self) -> Shape {
        self.route.shape
    }

    /// The connection goes on as a session; each of its responses will be an exchange of its own.
    pub(super) fn accepted(&mut self, head: &ResponseHead, at_ns: u64) {
        self.request_end(BodyEnd::Complete);
        self.response(head, at_ns);
        self.response = None;
    }

    /// Begins a response of the session that this exchange has led to.
    pub(super) fn response_of_session(
        &self,
        asked: Asked,
        model: Option<String>,
        at_ns: u64,
    ) -> Self {
        let mut call = self.call.clone();
        call.request_model = model;
        call.stream = asked.stream;
        (call.started_ns, call.ended_ns, call.first_byte_ns) = (at_ns, at_ns, None);
        Self {
            call,
            route: self.route.clone(),
            request: None,
            asked,
            response: Some(Response::of_messages()),
            gateway_cost: None,
            broken_bodies: 0,
        }
    }

    /// Makes the exchange one of another kind.
    pub(super) fn becomes(&mut self, operation: Operation, shape: Shape) {
        self.call.operation = operation;
        self.route.shape = shape;
    }

    /// Takes the message that stands in `reader`.
    pub(super) fn message(&mut self, reader: &mut Reader, at_ns: u64) {
        self.call.first_byte_ns.get_or_insert(at_ns);
        if let Some(response) = &mut self.response {
            response.message(reader, at_ns);
        }
    }

    /// Bytes of the exchange are missing.
    pub(super) fn hole(&mut self) {
        self.call.complete = false;
    }

    /// An error was the answer, with that status.
    pub(super) fn refused(&mut self, status: Option<u16>) {
        self.call.status = status.filter(|status| *status >= 400).or(self.call.status);
    }

    /// Ends the exchange.
    pub(super) fn finish(mut self, end: BodyEnd, at_ns: u64) -> (Call, u64) {
        self.request_end(end);
        self.call.ended_ns = at_ns;
        self.call.complete &= !is_hole(end);
        let response = self.response.take();
        let finished = match response {
            Some(response) => self.close(response, end),
            None => false,
        };
        if self.call.error_type.is_none() && end == BodyEnd::Aborted && !finished {
            self.call.error_type = Some("aborted".to_owned());
        }
        (self.call, self.broken_bodies)
    }

    /// Reads the whole answer; says whether all that matters of it was seen.
    fn close(&mut self, mut response: Response, end: BodyEnd) -> bool {
        response.end();
        let streamed = response.is_stream();
        self.route.unread &= response.may_be_results(self.call.complete);
        let answer = response.answer;
        let refused = self.call.status.filter(|status| *status >= 400);
        let (reading, mut quality) = usage::read(self.route.shape, &answer, self.asked.long_cache);
        // A stream joined after its start lacks the input, which is told there.
        let headless =
            self.route.shape == Shape::Messages && reading.usage.input_uncached.is_none();
        let last = self.is_final(answer.finished, end, answer.failed) && !headless;
        if streamed && quality == UsageQuality::Reported && !last {
            quality = UsageQuality::Partial;
        }
        let call = &mut self.call;
        call.stream = streamed;
        call.first_token_ns = response.first_token_ns;
        call.response_model = answer.model.or_else(|| call.response_model.take());
        call.response_id = answer.id;
        call.context = reading.context;
        if refused.is_none() && call.operation != Operation::CountTokens {
            call.usage = reading.usage;
            call.usage_quality = quality;
            let cost = &mut call.usage.reported_picodollars;
            *cost = cost.or(self.gateway_cost);
        }
        self.broken_bodies = self.broken_bodies.saturating_add(u64::from(answer.broken > 0));
        // Many objects have an `error` that is empty; outside a stream it counts only with a word in it.
        let failed = answer.failed && (streamed || answer.error.is_some());
        self.call.error_type = match refused {
            Some(status) => Some(answer.error.unwrap_or_else(|| status.to_string())),
            None if failed => Some(answer.error.unwrap_or_else(|| "error".to_owned())),
            None => None,
        };
        debug_assert!(self.call.error_type.as_deref().is_none_or(is_error_word));
        self.complete_context();
        answer.finished
    }

    /// Whether a stream's figures are the last ones.
    fn is_final(&self, finished: bool, end: BodyEnd, failed: bool) -> bool {
        // Without `message_delta` the start's output is a placeholder, however the body ended.
        let closes_itself = matches!(self.route.shape, Shape::Messages | Shape::Invoke);
        finished || (end == BodyEnd::Complete && !failed && !closes_itself)
    }

    /// What the response leaves open about the price is filled in from the request.
    fn complete_context(&mut self) {
        let context = &mut self.call.context;
        // `auto` is a wish, not a rate.
        let tier = self.asked.service_tier.take().filter(|tier| tier != "auto");
        context.service_tier = context.service_tier.take().or(tier);
        context.speed = context.speed.take().or_else(|| self.asked.speed.take());
        let geo = self.asked.geo.take().or_else(|| self.route.geo.take());
        context.geo = context.geo.take().or(geo);
        context.batch |= self.route.batch;
        context.unread |= self.route.unread;
    }
}

/// Whether bytes are missing in the middle.
fn is_hole(end: BodyEnd) -> bool {
    matches!(end, BodyEnd::Gap | BodyEnd::Undecodable)
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
