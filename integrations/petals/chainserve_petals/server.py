"""One stock PETALS server, with the patches that it takes to start: `python -m chainserve_petals.server ARGUMENTS`.

The arguments are those of PETALS' own `run_server`. With `--controlled` alone they are read from standard input, as one
line of JSON, once they are known: the process has its number before it has its blocks. The whole process group then
ends when standard input does: whoever started the server holds the other end, and however that process goes, no server
outlives it. The group must be the server's own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

CONTROLLED = "--controlled"


def receive_signals() -> None:
    """Unblocks every signal and restores what SIGTERM and SIGINT do.

    A process started from a thread that blocks signals, as Swift's are, inherits that, and so do its children: a
    peer-to-peer daemon would then not end when it is asked to, and whoever waits for it would wait for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_with_parent() -> None:
    """Starts a thread that kills this process group at the end of standard input."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def main() -> None:
    receive_signals()
    if sys.argv[1:] == [CONTROLLED]:
        line = sys.stdin.readline()
        if not line:
            return
        sys.argv[1:] = json.loads(line)
        end_with_parent()
    # The model is a local folder; nothing is to be looked for elsewhere.
    if any(os.path.isdir(argument) for argument in sys.argv[1:]):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    from chainserve_petals import patches

    patches.apply()
    from petals.cli import run_server

    patches.apply_after_import()
    run_server.main()


if __name__ == "__main__":
    main()
