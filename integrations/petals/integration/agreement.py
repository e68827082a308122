"""How many tokens of ChainServe on PETALS are those of transformers, with a given GGUF for the orchestrator's ends.

usage: CHAINSERVE=… python agreement.py FILE.gguf [TOKENS]

Prints, for each prompt, the tokens before the first that differs, and a line with the sum.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from service import MODEL, missing, serving, transformers_tokens
from test_service import PROMPTS
from tokenizers import Tokenizer


def main() -> int:
    reason = missing()
    if reason is not None or len(sys.argv) < 2:
        print(reason or __doc__, file=sys.stderr)
        return 2
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    tokenizer = Tokenizer.from_file(str(MODEL / "hf" / "tokenizer.json"))
    prompts = [list(tokenizer.encode(text).ids) for text in PROMPTS]
    expected = transformers_tokens(prompts, count)
    agreed = 0
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), Path(sys.argv[1]).resolve()) as service:
        for prompt, tokens in zip(prompts, expected, strict=True):
            text = service.complete(prompt, count).text
            same = 0
            while same < count and text.startswith(service.detokenize(tokens[: same + 1])):
                same += 1
            agreed += same
            print(f"agreement: {same} of {count} tokens before the first that differs", flush=True)
    print(f"agreement: {agreed} of {len(prompts) * count} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
