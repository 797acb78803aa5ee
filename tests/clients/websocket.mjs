// What to say over a WebSocket comes in (kind, model, prompt, key, knobs, count); one line of JSON a response goes out.
//
// The kinds: realtime by OpenAI's SDK, raw (responses) by the package that the SDK uses, raw-plain without compression.
import { createRequire } from "node:module";

const [kind, model, prompt, key, knobs, count] = process.argv.slice(2);
const require = createRequire(process.env.LAB_MODULES + "/");
const headers = { "x-lab-scenario": knobs };
let left = Number(count);

const tell = ({ id, usage }) =>
  console.log(JSON.stringify({ id, input: usage.input_tokens, output: usage.output_tokens }));

if (kind === "realtime") {
  const OpenAI = require("openai").default;
  const { OpenAIRealtimeWS } = require("openai/realtime/ws");
  const client = new OpenAI({ apiKey: key });
  const session = await OpenAIRealtimeWS.create(client, { model, options: { headers } });
  const ask = () => {
    const content = [{ type: "input_text", text: prompt }];
    session.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    session.send({ type: "response.create" });
  };
  session.socket.on("open", () => {
    session.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"], model } });
    ask();
  });
  session.on("response.done", (event) => {
    tell(event.response);
    left -= 1;
    left > 0 ? ask() : session.close();
  });
} else {
  const { WebSocket } = require("ws");
  const socket = new WebSocket("wss://api.openai.com/v1/responses", {
    headers: { authorization: `Bearer ${key}`, ...headers },
    // Without a threshold each message is compressed, however short.
    perMessageDeflate: kind === "raw-plain" ? false : { threshold: 0 },
  });
  const ask = () => socket.send(JSON.stringify({ type: "response.create", model, input: prompt }));
  socket.on("open", ask);
  socket.on("message", (data) => {
    const event = JSON.parse(data);
    if (event.type !== "response.completed") return;
    tell(event.response);
    left -= 1;
    left > 0 ? ask() : socket.close();
  });
}
