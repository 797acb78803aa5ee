"""A file with one specification of calls comes in (argv 1); one line of JSON with what the client saw goes out.

With two phases the second set of calls waits for a line on standard input, after the word "ready" was printed,
and uses the same client object, so the same connections.
With a specification "beside" there are as many calls of that one, by turns with the others and at once with them; a client
without an SDK makes both on the same connections.
"""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def plain(value):
    """SDK objects, as the JSON they came from."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


class Seen:
    """What one call showed its caller."""

    def __init__(self):
        self.facts = {"beside": False, "id": "", "model": "", "usage": None, "status": 0, "error": None, "chunks": 0,
                      "text_bytes": 0, "t_start_ns": time.monotonic_ns(), "t_first_ns": 0, "t_end_ns": 0}

    def text(self, text):
        if text:
            self.first()
            self.facts["chunks"] += 1
            self.facts["text_bytes"] += len(text.encode())

    def first(self):
        self.facts["t_first_ns"] = self.facts["t_first_ns"] or time.monotonic_ns()

    def name(self, answer):
        self.facts["id"] = answer.id
        self.facts["model"] = answer.model
        self.facts["status"] = 200

    def usage(self, usage):
        if usage is not None:
            told = {name: value for name, value in plain(usage).items() if value is not None}
            self.facts["usage"] = {**(self.facts["usage"] or {}), **told}

    def chat(self, answer):
        self.name(answer)
        self.usage(answer.usage)
        for choice in answer.choices:
            part = getattr(choice, "delta", None) or getattr(choice, "message", None)
            self.text(part.content if part else choice.text)
            for call in (getattr(part, "tool_calls", None) or []):
                self.text(call.function.arguments)

    def response_event(self, event):
        if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
            self.text(event.delta)
        if event.type in ("response.created", "response.completed"):
            self.name(event.response)
            self.usage(event.response.usage)

    def message_event(self, event):
        if event.type == "message_start":
            self.name(event.message)
            self.usage(event.message.usage)
        elif event.type == "message_delta":
            self.usage(event.usage)
        elif event.type == "content_block_delta":
            self.text(getattr(event.delta, "text", None) or getattr(event.delta, "partial_json", None))

    def whole(self, api, answer):
        if api in ("chat", "completions"):
            return self.chat(answer)
        if api == "embeddings":
            self.facts["model"], self.facts["status"] = answer.model, 200
            return self.usage(answer.usage)
        if api == "count_tokens":
            self.facts["status"] = 200
            return self.first()
        self.name(answer)
        self.usage(answer.usage)
        if api == "responses":
            return self.text(answer.output_text)
        for block in answer.content:
            self.text(getattr(block, "text", None) or json.dumps(block.input))

    def event(self, api, event):
        if api in ("chat", "completions"):
            self.chat(event)
        elif api == "responses":
            self.response_event(event)
        else:
            self.message_event(event)

    def failed(self, error):
        self.facts["error"] = f"{type(error).__name__}: {error}"[:300]
        self.facts["status"] = getattr(error, "status_code", 0) or self.facts["status"]

    def done(self):
        self.facts["t_end_ns"] = time.monotonic_ns()
        return self.facts


def arguments(spec):
    """Arguments of the SDK function for an API."""
    api, model, prompt = spec["api"], spec["model"], spec["prompt"]
    messages = [{"role": "user", "content": prompt}]
    if api == "embeddings":
        return {"model": model, "input": prompt}
    if api == "count_tokens":
        return {"model": model, "messages": messages}
    extra = {"stream": True} if spec["stream"] else {}
    if api == "chat":
        if spec["stream"] and spec["include_usage"]:
            extra["stream_options"] = {"include_usage": True}
        return {"model": model, "messages": messages, **extra}
    if api == "completions":
        if spec["stream"] and spec["include_usage"]:
            extra["stream_options"] = {"include_usage": True}
        return {"model": model, "prompt": prompt, **extra}
    if api == "responses":
        return {"model": model, "input": prompt, **extra}
    return {"model": model, "messages": messages, "max_tokens": 1024, **extra}


def function(client, api):
    """The SDK function for an API."""
    return {
        "chat": lambda: client.chat.completions.create,
        "completions": lambda: client.completions.create,
        "responses": lambda: client.responses.create,
        "embeddings": lambda: client.embeddings.create,
        "messages": lambda: client.messages.create,
        "count_tokens": lambda: client.messages.count_tokens,
    }[api]()


def sdk(spec):
    """Makes the SDK's client object."""
    options = {"api_key": spec["api_key"], "max_retries": spec["max_retries"],
               "timeout": spec["timeout_secs"], "default_headers": spec["headers"]}
    library, way = spec["client"].rsplit("-", 1)
    if library == "anthropic":
        import anthropic
        kind = anthropic.Anthropic if way == "sync" else anthropic.AsyncAnthropic
        return kind(base_url=spec["origin"], **options)
    import openai
    if spec["azure"]:
        kind = openai.AzureOpenAI if way == "sync" else openai.AsyncAzureOpenAI
        return kind(azure_endpoint=spec["origin"], api_version="2024-10-21", **options)
    kind = openai.OpenAI if way == "sync" else openai.AsyncOpenAI
    # The real host is the SDK's own default: nothing is set, as in most programs.
    base = {} if spec["origin"] == "https://api.openai.com" else {"base_url": spec["base_url"]}
    return kind(**base, **options)


class Blocking:
    """Clients whose calls block: one thread a concurrent call."""

    def __init__(self, spec):
        self.spec = spec
        self.shared = self.make() if spec["reuse"] else None

    def run(self, _number):
        seen = Seen()
        seen.facts["beside"] = self.spec.get("is_beside", False)
        try:
            self.call(self.shared or self.make(), seen)
        except Exception as error:
            seen.failed(error)
        return seen.done()

    def phase(self, other=None):
        """Runs the calls; those of another runner by turns with the own ones."""
        runners = [self, other] if other else [self]
        with ThreadPoolExecutor(self.spec["concurrency"]) as pool:
            numbers = range(self.spec["count"] * len(runners))
            return list(pool.map(lambda number: runners[number % len(runners)].run(number), numbers))


class SdkSync(Blocking):
    def make(self):
        return sdk(self.spec)

    def call(self, client, seen):
        answer = function(client, self.spec["api"])(**arguments(self.spec))
        if not self.spec["stream"]:
            return seen.whole(self.spec["api"], answer)
        for event in answer:
            seen.event(self.spec["api"], event)


def grok(spec):
    """Makes the object of xAI's SDK, and a chat for one call of it."""
    import xai_sdk
    kind = xai_sdk.Client if spec["client"] == "xai-sdk-sync" else xai_sdk.AsyncClient
    return kind(api_key=spec["api_key"], api_host=spec["origin"].removeprefix("https://"),
                metadata=tuple(spec["headers"].items()), timeout=spec["timeout_secs"],
                channel_options=[("grpc.enable_retries", spec["max_retries"])])


def grok_chat(client, spec):
    from xai_sdk.chat import user
    return client.chat.create(model=spec["model"], messages=[user(spec["prompt"])])


def grok_answer(seen, answer):
    """The figures in the words of chat completions, which count the reasoning inside."""
    seen.facts["id"], seen.facts["status"] = answer.id, 200
    seen.facts["model"] = answer.proto.model
    if not answer.proto.HasField("usage"):
        return
    told = answer.proto.usage
    seen.usage({"prompt_tokens": told.prompt_tokens,
                "completion_tokens": told.completion_tokens + told.reasoning_tokens,
                "prompt_tokens_details": {"cached_tokens": told.cached_prompt_text_tokens},
                "completion_tokens_details": {"reasoning_tokens": told.reasoning_tokens}})


class GrokSync(Blocking):
    def make(self):
        return grok(self.spec)

    def call(self, client, seen):
        chat = grok_chat(client, self.spec)
        if not self.spec["stream"]:
            answer = chat.sample()
            seen.text(answer.content)
            return grok_answer(seen, answer)
        for answer, chunk in chat.stream():
            seen.text(chunk.content)
            grok_answer(seen, answer)


class Httpx(Blocking):
    def make(self):
        import httpx
        return httpx.Client(http2=self.spec["client"] == "httpx-h2", timeout=self.spec["timeout_secs"])

    def call(self, client, seen):
        request = self.spec["request"]
        with client.stream("POST", request["url"], headers=request["headers"], content=request["body"]) as answer:
            seen.facts["status"] = answer.status_code
            seen.facts["protocol"] = "h2" if answer.http_version == "HTTP/2" else "http/1.1"
            body = b""
            for part in answer.iter_bytes():
                seen.first()
                body += part
        seen.facts["body"] = body.decode()


class Requests(Blocking):
    def make(self):
        import requests
        return requests.Session()

    def call(self, client, seen):
        request = self.spec["request"]
        answer = client.post(request["url"], headers=request["headers"], data=request["body"].encode(),
                             stream=True, timeout=self.spec["timeout_secs"])
        seen.facts["status"], body = answer.status_code, b""
        for part in answer.iter_content(None):
            seen.first()
            body += part
        seen.facts["body"] = body.decode()


class Langchain(Blocking):
    def make(self):
        from langchain_openai import ChatOpenAI
        spec = self.spec
        return ChatOpenAI(model=spec["model"], api_key=spec["api_key"], base_url=spec["base_url"],
                          default_headers=spec["headers"], stream_usage=spec["include_usage"],
                          max_retries=spec["max_retries"], timeout=spec["timeout_secs"])

    def call(self, client, seen):
        parts = client.stream(self.spec["prompt"]) if self.spec["stream"] else [client.invoke(self.spec["prompt"])]
        for part in parts:
            seen.facts["status"] = 200
            seen.text(part.content)
            told = part.response_metadata
            seen.facts["model"] = told.get("model_name") or seen.facts["model"]
            # The library numbers its own runs; the provider's identifier is in the metadata or is the message's.
            seen.facts["id"] = told.get("id") or seen.facts["id"] or (part.id if part.id.startswith("chatcmpl") else "")
            if told.get("token_usage"):
                seen.usage(told["token_usage"])
            elif part.usage_metadata:
                seen.usage(self.renamed(part.usage_metadata))

    @staticmethod
    def renamed(usage):
        """The library's own words, back in the provider's."""
        read = usage.get("input_token_details", {}).get("cache_read", 0)
        thought = usage.get("output_token_details", {}).get("reasoning", 0)
        return {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"],
                "prompt_tokens_details": {"cached_tokens": read},
                "completion_tokens_details": {"reasoning_tokens": thought}}


class Tasks:
    """Clients on asyncio: one task a concurrent call, all on one thread."""

    def __init__(self, spec, loop=None):
        self.spec = spec
        self.loop = loop or asyncio.new_event_loop()
        self.shared = self.loop.run_until_complete(self.make()) if spec["reuse"] else None

    async def run(self, room):
        async with room:
            seen = Seen()
            seen.facts["beside"] = self.spec.get("is_beside", False)
            try:
                client = self.shared or await self.make()
                await self.call(client, seen)
                if client is not self.shared:
                    await client.close()
            except Exception as error:
                seen.failed(error)
            return seen.done()

    async def all(self, runners):
        room = asyncio.Semaphore(self.spec["concurrency"])
        return await asyncio.gather(*(one.run(room) for _ in range(self.spec["count"]) for one in runners))

    def phase(self, other=None):
        return self.loop.run_until_complete(self.all([self, other] if other else [self]))


class SdkAsync(Tasks):
    async def make(self):
        return sdk(self.spec)

    async def call(self, client, seen):
        answer = await function(client, self.spec["api"])(**arguments(self.spec))
        if not self.spec["stream"]:
            return seen.whole(self.spec["api"], answer)
        async for event in answer:
            seen.event(self.spec["api"], event)


class GrokAsync(Tasks):
    async def make(self):
        return grok(self.spec)

    async def call(self, client, seen):
        chat = grok_chat(client, self.spec)
        if not self.spec["stream"]:
            answer = await chat.sample()
            seen.text(answer.content)
            return grok_answer(seen, answer)
        async for answer, chunk in chat.stream():
            seen.text(chunk.content)
            grok_answer(seen, answer)


class Aiohttp(Tasks):
    async def make(self):
        import aiohttp
        return aiohttp.ClientSession()

    async def call(self, client, seen):
        request = self.spec["request"]
        async with client.post(request["url"], headers=request["headers"], data=request["body"].encode()) as answer:
            seen.facts["status"], body = answer.status, b""
            async for part in answer.content.iter_any():
                seen.first()
                body += part
        seen.facts["body"] = body.decode()


RUNNERS = {
    "openai-sync": SdkSync, "openai-async": SdkAsync, "anthropic-sync": SdkSync, "anthropic-async": SdkAsync,
    "xai-sdk-sync": GrokSync, "xai-sdk-async": GrokAsync,
    "httpx-h1": Httpx, "httpx-h2": Httpx, "requests": Requests, "aiohttp": Aiohttp, "langchain-openai": Langchain,
}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    kind = RUNNERS[spec["client"]]
    runner, other = kind(spec), None
    if "beside" in spec:
        beside = {**spec["beside"], "is_beside": True}
        other = kind(beside, runner.loop) if issubclass(kind, Tasks) else kind(beside)
        if kind in (Httpx, Requests, Aiohttp) and spec["reuse"]:
            other.shared = runner.shared
    calls = runner.phase(other)
    for _ in range(1, spec["phases"]):
        print("ready", flush=True)
        sys.stdin.readline()
        calls += runner.phase(other)
    print(json.dumps({"calls": calls}), flush=True)


main()
