"""One stock PETALS server, with the patches that it takes to start: `python -m chainserve_petals.server ARGUMENTS`.

The arguments are those of PETALS' own `run_server`. With CHAINSERVE_EXIT_WITH_PARENT set, the whole process group ends
when standard input does: whoever started the server holds the other end, and however that process goes, no server
outlives it. The group must then be the server's own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

EXIT_WITH_PARENT = "CHAINSERVE_EXIT_WITH_PARENT"


def end_with_parent() -> None:
    """Starts a thread that kills this process group at the end of standard input."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def main() -> None:
    # The model is a local folder; nothing is to be looked for elsewhere.
    if any(os.path.isdir(argument) for argument in sys.argv[1:]):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if os.environ.get(EXIT_WITH_PARENT):
        end_with_parent()
    from chainserve_petals import patches

    patches.apply()
    from petals.cli import run_server

    patches.apply_after_import()
    run_server.main()


if __name__ == "__main__":
    main()
