"""What has to be changed before `import petals`, and why. Nothing of PETALS' files is touched.

`apply()` is idempotent and must come first in every process that imports petals. All three patches are about starting
at all; none changes what a server computes, how it places itself or how a client routes.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator

# Submodules whose public names hivemind 1.1.10 had at its top level, from which petals 2.2 imports them.
HIVEMIND_SUBMODULES = (
    "utils.asyncio",
    "utils.logging",
    "utils.mpfuture",
    "utils.nested",
    "utils.performance_ema",
    "utils.serializer",
    "utils.streaming",
    "utils.tensor_descr",
    "utils.timed_storage",
    "utils.networking",
    "utils",
    "compression",
    "compression.base",
    "p2p",
)


def apply() -> None:
    """Makes `import petals` work with the pinned packages."""
    _restore_hivemind_names()
    _stand_in_for_peft()


def apply_after_import() -> None:
    """What can only be changed once petals is imported."""
    _skip_version_check()


def _restore_hivemind_names() -> None:
    """hivemind 1.1.12, the release that has a wheel, no longer has its submodules' names at its top level."""
    hivemind = importlib.import_module("hivemind")
    for name in HIVEMIND_SUBMODULES:
        module = importlib.import_module(f"hivemind.{name}")
        for public, value in vars(module).items():
            if not public.startswith("_") and not hasattr(hivemind, public):
                setattr(hivemind, public, value)


def _stand_in_for_peft() -> None:
    """petals' own `utils.peft` imports bitsandbytes and peft, which serve adapters and quantised weights on GPUs.

    Where they are not installed a server needs one name of it, a context in which an adapter is active. The stand-in
    refuses adapters instead of ignoring them.
    """
    if importlib.util.find_spec("peft") and importlib.util.find_spec("bitsandbytes"):
        return
    name = "petals.utils.peft"
    if name in sys.modules:
        return
    module = types.ModuleType(name)

    @contextlib.contextmanager
    def using_adapter(active_adapter: str | None) -> Iterator[None]:
        if active_adapter:
            raise RuntimeError(f"the adapter {active_adapter} cannot be used: peft is not installed")
        yield

    setattr(module, "using_adapter", using_adapter)
    sys.modules[name] = module


def _skip_version_check() -> None:
    """A server asks PyPI for a newer petals before it starts, without a time-out: offline it may hang there."""
    version = importlib.import_module("petals.utils.version")
    run_server = importlib.import_module("petals.cli.run_server")
    for module in (version, run_server):
        setattr(module, "validate_version", lambda: None)
