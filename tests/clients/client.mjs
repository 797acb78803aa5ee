// A file with one specification of calls comes in (argv 2); one line of JSON with what the client saw goes out.
// With two phases the second set of calls waits for a line on standard input, after the word "ready" was printed,
// and uses the same client object, so the same connections.
// With a specification "beside" there are as many calls of that one, by turns with the others and at once with them.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:http2";
import { createInterface } from "node:readline";
import { createBrotliDecompress, createGunzip } from "node:zlib";

const main = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(process.env.LAB_MODULES + "/");
const now = () => Number(process.hrtime.bigint());

const begin = (spec) => ({
  beside: spec === main.beside, id: "", model: "", usage: null, status: 0, error: null, chunks: 0, text_bytes: 0,
  t_start_ns: now(), t_first_ns: 0, t_end_ns: 0,
});

function text(seen, piece) {
  if (!piece) return;
  seen.t_first_ns ||= now();
  seen.chunks += 1;
  seen.text_bytes += Buffer.byteLength(piece);
}

function name(seen, answer) {
  seen.id = answer.id;
  seen.model = answer.model;
  seen.status = 200;
}

function usage(seen, told) {
  if (!told) return;
  const given = Object.entries(told).filter(([, value]) => value !== null);
  seen.usage = { ...seen.usage, ...Object.fromEntries(given) };
}

function chat(seen, answer) {
  name(seen, answer);
  usage(seen, answer.usage);
  for (const choice of answer.choices) {
    const part = choice.delta ?? choice.message ?? { content: choice.text };
    text(seen, part.content);
    for (const call of part.tool_calls ?? []) text(seen, call.function.arguments);
  }
}

// One event of a stream, or a whole answer, of each API.
const READERS = {
  chat: { event: chat, whole: chat },
  completions: { event: chat, whole: chat },
  embeddings: {
    whole(seen, answer) {
      Object.assign(seen, { model: answer.model, status: 200 });
      usage(seen, answer.usage);
    },
  },
  responses: {
    event(seen, event) {
      if (event.type === "response.output_text.delta" || event.type === "response.function_call_arguments.delta") {
        text(seen, event.delta);
      }
      if (event.type === "response.created" || event.type === "response.completed") {
        name(seen, event.response);
        usage(seen, event.response.usage);
      }
    },
    whole(seen, answer) {
      name(seen, answer);
      usage(seen, answer.usage);
      text(seen, answer.output_text);
    },
  },
  messages: {
    event(seen, event) {
      if (event.type === "message_start") {
        name(seen, event.message);
        usage(seen, event.message.usage);
      } else if (event.type === "message_delta") usage(seen, event.usage);
      else if (event.type === "content_block_delta") text(seen, event.delta.text ?? event.delta.partial_json);
    },
    whole(seen, answer) {
      name(seen, answer);
      usage(seen, answer.usage);
      for (const block of answer.content) text(seen, block.text ?? JSON.stringify(block.input));
    },
  },
};

const options = (spec) => ({
  apiKey: spec.api_key, maxRetries: spec.max_retries, timeout: spec.timeout_secs * 1000, defaultHeaders: spec.headers,
});

const SDK = {
  openai(spec) {
    const { default: OpenAI, AzureOpenAI } = require("openai");
    if (spec.azure) return new AzureOpenAI({ ...options(spec), endpoint: spec.origin, apiVersion: "2024-10-21" });
    const base = spec.origin === "https://api.openai.com" ? {} : { baseURL: spec.base_url };
    return new OpenAI({ ...options(spec), ...base });
  },
  anthropic(spec) {
    const { default: Anthropic } = require("@anthropic-ai/sdk");
    return new Anthropic({ ...options(spec), baseURL: spec.origin });
  },
};

async function sdkCall(spec, client, seen) {
  const { model, prompt, stream, api } = spec;
  const messages = [{ role: "user", content: prompt }];
  const usageOption = stream && spec.include_usage ? { stream_options: { include_usage: true } } : {};
  const answer = await {
    chat: () => client.chat.completions.create({ model, messages, stream, ...usageOption }),
    completions: () => client.completions.create({ model, prompt, stream, ...usageOption }),
    responses: () => client.responses.create({ model, input: prompt, stream }),
    embeddings: () => client.embeddings.create({ model, input: prompt }),
    messages: () => client.messages.create({ model, messages, max_tokens: 1024, stream }),
  }[api]();
  if (!stream) return READERS[api].whole(seen, answer);
  for await (const event of answer) READERS[api].event(seen, event);
}

async function collect(seen, parts) {
  const body = [];
  for await (const part of parts) {
    seen.t_first_ns ||= now();
    body.push(Buffer.from(part));
  }
  seen.body = Buffer.concat(body).toString();
}

async function fetchCall(spec, client, seen) {
  const { url, headers, body } = spec.request;
  const answer = await client.fetch(url, { method: "POST", headers, body, ...client.options });
  seen.status = answer.status;
  await collect(seen, answer.body);
}

async function http2Call(spec, client, seen) {
  const { url, headers, body } = spec.request;
  const { pathname, search } = new URL(url);
  const stream = client.session.request({
    ":method": "POST", ":path": pathname + search, "accept-encoding": "gzip, br", ...headers,
  });
  const head = new Promise((resolve, reject) => stream.once("response", resolve).once("error", reject));
  stream.end(body);
  const fields = await head;
  Object.assign(seen, { status: fields[":status"], protocol: "h2" });
  const decoder = { gzip: createGunzip, br: createBrotliDecompress }[fields["content-encoding"]]?.();
  // The plain bytes of a stream carry no error of their own once it is piped on.
  if (decoder) stream.once("error", (error) => decoder.destroy(error));
  await collect(seen, decoder ? stream.pipe(decoder) : stream);
}

const RUNNERS = {
  "node-openai": { make: SDK.openai, call: sdkCall },
  "node-anthropic": { make: SDK.anthropic, call: sdkCall },
  "node-fetch": { make: () => ({ fetch, options: {} }), call: fetchCall },
  "node-undici": {
    make() {
      const { fetch: undiciFetch, Agent } = require("undici");
      return { fetch: undiciFetch, options: { dispatcher: new Agent() } };
    },
    call: fetchCall,
  },
  "node-http2": {
    make(spec) {
      const session = connect(spec.origin);
      session.on("error", () => {});
      return { session, close: () => session.close() };
    },
    call: http2Call,
  },
};

const runner = RUNNERS[main.client];
const shared = new Map();

function sharedOf(spec) {
  if (!main.reuse) return null;
  // An SDK's object holds its key; the others may carry both specifications on one connection.
  const key = runner.call === sdkCall ? spec : "one";
  if (!shared.has(key)) shared.set(key, runner.make(spec));
  return shared.get(key);
}

async function one(spec) {
  const seen = begin(spec);
  const kept = sharedOf(spec);
  const client = kept ?? runner.make(spec);
  try {
    await runner.call(spec, client, seen);
  } catch (error) {
    const cause = error.cause?.code ?? error.code ?? "";
    seen.error = `${error.constructor.name}: ${error.message} ${cause}`.trim().slice(0, 300);
    seen.status = error.status ?? seen.status;
  }
  if (!kept) client.close?.();
  seen.t_end_ns = now();
  return seen;
}

async function phase() {
  const calls = [];
  const turns = main.beside ? [main, main.beside] : [main];
  const all = main.count * turns.length;
  let next = 0;
  const lane = async () => {
    while (next < all) {
      const spec = turns[next % turns.length];
      next += 1;
      calls.push(await one(spec));
    }
  };
  await Promise.all(Array.from({ length: main.concurrency }, lane));
  return calls;
}

let calls = await phase();
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
for (let number = 1; number < main.phases; number += 1) {
  console.log("ready");
  await lines.next();
  calls = calls.concat(await phase());
}
for (const client of shared.values()) client.close?.();
// Idle connections would keep the process alive: it ends when the last line is written.
process.stdout.write(`${JSON.stringify({ calls })}\n`, () => process.exit(0));
