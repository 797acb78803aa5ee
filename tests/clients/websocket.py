"""What to say over a WebSocket comes in (kind, model, prompt, key, knobs, count); one line of JSON a response goes out.

The kinds: realtime and responses by OpenAI's SDK, raw by the library that the SDK uses, raw-plain without compression.
"""

import json
import signal
import sys

KIND, MODEL, PROMPT, KEY, KNOBS, COUNT = sys.argv[1:7]
HEADERS = {"x-lab-scenario": KNOBS}


def tell(response):
    usage = response["usage"]
    print(json.dumps({"id": response["id"], "input": usage["input_tokens"], "output": usage["output_tokens"]}))


def realtime(client):
    with client.realtime.connect(model=MODEL, extra_headers=HEADERS) as connection:
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"], "model": MODEL})
        for _ in range(int(COUNT)):
            content = [{"type": "input_text", "text": PROMPT}]
            connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            connection.response.create()
            for event in connection:
                if event.type == "response.done":
                    tell(event.response.model_dump(mode="json"))
                    break


def responses(client):
    with client.responses.connect(extra_headers=HEADERS) as connection:
        for _ in range(int(COUNT)):
            connection.response.create(model=MODEL, input=PROMPT)
            for event in connection:
                if event.type == "response.completed":
                    tell(event.response.model_dump(mode="json"))
                    break


def raw(compression):
    from websockets.sync.client import connect
    headers = {"authorization": f"Bearer {KEY}", **HEADERS}
    with connect("wss://api.openai.com/v1/responses", additional_headers=headers, compression=compression) as socket:
        for _ in range(int(COUNT)):
            create = json.dumps({"type": "response.create", "model": MODEL, "input": PROMPT})
            # In pieces, as a program that writes while it thinks would send it.
            socket.send(create[at:at + 20] for at in range(0, len(create), 20))
            while True:
                event = json.loads(socket.recv())
                if event["type"] == "response.completed":
                    tell(event["response"])
                    break


# What stands still is ended.
signal.alarm(60)
if KIND.startswith("raw"):
    raw(None if KIND == "raw-plain" else "deflate")
else:
    import openai
    {"realtime": realtime, "responses": responses}[KIND](openai.OpenAI(api_key=KEY, max_retries=0))
