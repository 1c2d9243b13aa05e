"""Serve the page until Ctrl-C, or for some seconds."""

from __future__ import annotations

from viewers.web.session import Policies, Session
from viewers.web.settings import Settings


def serve(
    settings: Settings,
    policies: Policies,
    host: str,
    port: int,
    seconds: float = 0.0,
    device: str = "cpu",
    num_threads: int = 1,
    seed: int = 1,
) -> None:
    """Say where the page is, and run it; arguments as of `Session`, and how long (s, 0 for ever)."""
    session = Session(settings, policies, host, port, device, num_threads, seed)
    if session.server.get_port() != port:
        print(f"port {port} is taken; the page has the next free one")
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(f"warning: whoever reaches {host} can see and steer this")
    print(f"policy {settings.policy}")
    print(f"page   {session.url} (Ctrl-C ends it)", flush=True)
    try:
        session.run(seconds)
    finally:
        session.close()
