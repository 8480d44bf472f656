"""An emulator of PostHog: an ASGI application that behaves like PostHog's private API.

```python
emulator = Emulator()
emulator.seed("cohorts", 250)
async with serve(emulator) as url:                     # a real socket
    ...
async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://emulator") as http:
    ...                                                # without a socket
```

It is written from the behaviour of the server, not from that of the client in this distribution,
so that it can reveal errors of the client. Names are imported on first use: pytest imports this
package for its plugin in every test run, which must cost nothing where the plugin is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .accounts import DEFAULT_KEY
    from .emulator import Emulator
    from .http.messages import FIDELITY_HEADER
    from .http.server import serve, serve_sync
    from .recorder import RecordedRequest
    from .schema.request_body import Upload

__all__ = [
    "DEFAULT_KEY",
    "FIDELITY_HEADER",
    "Emulator",
    "RecordedRequest",
    "Upload",
    "serve",
    "serve_sync",
]

_MODULES: Final = {
    "DEFAULT_KEY": ".accounts",
    "FIDELITY_HEADER": ".http.messages",
    "Emulator": ".emulator",
    "RecordedRequest": ".recorder",
    "Upload": ".schema.request_body",
    "serve": ".http.server",
    "serve_sync": ".http.server",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module, __name__), name)
    # The next access finds the name in the module and does not call this function.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
