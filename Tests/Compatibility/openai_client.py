"""The official `openai` client against a gateway: chat, completions, streams, usage, log probabilities, errors, retries.

Usage: openai_client.py BASE_URL MODEL [CHECK...]

With a base URL and a model alone it checks any running service; the checks `retries` and `stream_error` need one that
refuses and fails as they expect, and run only when named. Exits 0 when everything holds, 1 with the reasons otherwise.
"""

import sys
import time

import openai


def client(base_url, **options):
    options.setdefault("max_retries", 0)
    return openai.OpenAI(base_url=base_url, api_key="none", timeout=60, **options)


MESSAGES = [{"role": "user", "content": "Say something short."}]


def check_models(url, model):
    models = client(url).models.list().data
    assert [m.id for m in models] == [model], models
    assert client(url).models.retrieve(model).id == model


def check_chat(url, model):
    raw = client(url).chat.completions.with_raw_response.create(
        model=model, messages=MESSAGES, max_tokens=8, extra_headers={"X-Request-ID": "compat-1"}
    )
    assert raw.headers["x-request-id"] == "compat-1"
    assert raw.headers["x-chainserve-chain"]
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.id == "chatcmpl-compat-1", answer.id
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens <= 8


def check_chat_stream(url, model):
    stream = client(url).chat.completions.create(
        model=model,
        messages=MESSAGES,
        max_completion_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens >= 1
    assert all(c.usage is None for c in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    whole = client(url).chat.completions.create(
        model=model, messages=MESSAGES, max_completion_tokens=8, temperature=0
    )
    assert text == whole.choices[0].message.content, (text, whole)


def check_history(url, model):
    """An answer is sent back as the client got it."""
    first = client(url).chat.completions.create(model=model, messages=MESSAGES, max_tokens=4)
    again = MESSAGES + [first.choices[0].message, {"role": "user", "content": [{"type": "text", "text": "More."}]}]
    assert client(url).chat.completions.create(model=model, messages=again, max_tokens=4).choices


def check_completions(url, model):
    answer = client(url).completions.create(model=model, prompt="Once", max_tokens=4, temperature=0, seed=1)
    assert answer.object == "text_completion" and answer.choices[0].text
    chunks = list(
        client(url).completions.create(
            model=model, prompt="Once", max_tokens=4, temperature=0, seed=1, stream=True
        )
    )
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text
    assert chunks[-1].choices[0].finish_reason == answer.choices[0].finish_reason


def check_logprobs(url, model):
    chat = client(url).chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=4, logprobs=True, top_logprobs=2
    )
    content = chat.choices[0].logprobs.content
    assert len(content) == chat.usage.completion_tokens
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in content), content
    assert all(bytes(entry.bytes).decode(errors="replace") == entry.token for entry in content)
    text = client(url).completions.create(model=model, prompt="Once", max_tokens=4, logprobs=2)
    logprobs = text.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) > 0
    assert len(logprobs.top_logprobs[0]) <= 2
    stream = client(url).chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=4, logprobs=True, stream=True
    )
    entries = [c.choices[0].logprobs for c in stream]
    assert sum(len(e.content) for e in entries if e) >= 1


def check_errors(url, model):
    def refused(kind, parameter, **fields):
        fields = {"model": model, "messages": MESSAGES, **fields}
        try:
            client(url).chat.completions.create(**fields)
        except kind as error:
            assert error.param == parameter, (fields, error.param)
            assert error.type == "invalid_request_error" and error.code, error
            assert error.request_id, "the client reads x-request-id"
            return
        raise AssertionError(f"accepted: {fields}")

    refused(openai.NotFoundError, "model", model="no-such-model")
    refused(openai.BadRequestError, "max_tokens", max_tokens=0)
    refused(openai.BadRequestError, "temperature", temperature=3)
    refused(openai.BadRequestError, "n", n=2)
    refused(openai.BadRequestError, "messages", messages=[])
    refused(openai.BadRequestError, "messages[0].role", messages=[{"role": "tool", "content": "x"}])
    refused(openai.BadRequestError, "response_format", response_format={"type": "json_object"})
    refused(
        openai.BadRequestError,
        "tools",
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
    )
    refused(openai.BadRequestError, "nonsense", extra_body={"nonsense": 1})


def check_retries(url, model):
    """The service refuses two requests for either reason: the client waits as told, then gets its answer."""
    for kind in (openai.RateLimitError, openai.InternalServerError):
        try:
            client(url).chat.completions.create(model=model, messages=MESSAGES)
            raise AssertionError("not refused")
        except kind as error:
            assert error.response.headers["retry-after"] == "1"
            assert error.response.headers["retry-after-ms"] == "200"
            assert error.response.headers["x-chainserve-drop-reason"] == "scripted"
            assert error.body["type"] in ("rate_limit_error", "service_unavailable_error")
        start = time.monotonic()
        answer = client(url, max_retries=2).chat.completions.create(model=model, messages=MESSAGES)
        assert answer.choices[0].message.content
        assert 0.2 <= time.monotonic() - start < 20


def check_stream_error(url, model):
    """The service fails after a token."""
    pieces = []
    try:
        for chunk in client(url).chat.completions.create(model=model, messages=MESSAGES, stream=True):
            pieces.append(chunk.choices[0].delta.content)
        raise AssertionError("no error")
    except openai.APIError as error:
        assert pieces and error.code == "unavailable", (pieces, error)


GENERAL = ["models", "chat", "chat_stream", "history", "completions", "logprobs", "errors"]


def main():
    url, model = sys.argv[1:3]
    failures = 0
    for name in sys.argv[3:] or GENERAL:
        try:
            globals()[f"check_{name}"](url, model)
            print(f"{name}: ok")
        except Exception as error:
            failures += 1
            print(f"{name}: {type(error).__name__}: {error}")
    sys.exit(1 if failures else 0)


main()
