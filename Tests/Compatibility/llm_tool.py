"""The `llm` command line tool (PyPI) against a gateway: whole answers, streams, conversations, usage, errors.

Usage: llm_tool.py BASE_URL MODEL

Runs the `llm` that this Python has, with a folder of its own for models and logs. Exits 0 when everything holds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile


class Tool:
    def __init__(self, folder, url, model):
        self.environment = dict(os.environ, LLM_USER_PATH=folder, OPENAI_API_KEY="none")
        entries = [
            {"model_id": "served", "model_name": model, "api_base": url},
            {"model_id": "completing", "model_name": model, "api_base": url, "completion": True},
            {"model_id": "absent", "model_name": "no-such-model", "api_base": url},
        ]
        # JSON is YAML.
        with open(os.path.join(folder, "extra-openai-models.yaml"), "w") as file:
            json.dump(entries, file)

    def run(self, *arguments, **options):
        done = subprocess.run(
            [sys.executable, "-m", "llm", *arguments], env=self.environment, capture_output=True, text=True,
            timeout=60, stdin=subprocess.DEVNULL, **options)
        return done.returncode, done.stdout, done.stderr

    def answer(self, *arguments):
        status, text, errors = self.run(*arguments)
        assert status == 0 and text.strip(), (arguments, status, text, errors)
        return text.rstrip("\n"), errors


def main():
    url, model = sys.argv[1:3]
    fixed = ("-o", "temperature", "0", "-o", "max_tokens", "12")
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool(folder, url, model)
        streamed, usage = tool.answer("-m", "served", "Say something short.", "-u", *fixed)
        assert re.search(r"\d+ output", usage), usage
        whole, _ = tool.answer("-m", "served", "Say something short.", "--no-stream", *fixed)
        assert streamed == whole, (streamed, whole)
        # The conversation so far is sent again: more is read than the first time.
        _, more = tool.answer("-m", "served", "-c", "More.", "-u", *fixed)
        read = [int(re.search(r"([\d,]+) input", told)[1].replace(",", "")) for told in (usage, more)]
        assert read[1] > read[0], (usage, more)
        tool.answer("-m", "completing", "Once upon a time", *fixed)
        status, _, errors = tool.run("-m", "absent", "Hello")
        assert status != 0 and "no-such-model" in errors, (status, errors)
        status, _, errors = tool.run("-m", "served", "Hello", "-o", "temperature", "2", "-o", "max_tokens", "0")
        assert status != 0 and "max_tokens" in errors, (status, errors)
    print("llm: ok")


main()
