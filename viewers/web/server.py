"""A viser server that other web pages cannot reach, and that garbage does not stop.

viser itself listens on all addresses, lets pages of any origin connect and acts on whatever message comes; it has no
keyboard events and no link either. So its server is started with a guard around it, which

* answers only where `Host` is an address or this machine's name (a foreign name that resolves to here is an attack),
  and opens WebSockets only for pages that it served itself (`Origin` equals `Host`);
* passes on only those messages that our page needs, if they can be read and hold finite numbers;
* adds a script to the page, which speaks to us over a WebSocket of its own (`viewers/web/controls.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import io
import json
import logging
import math
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import viser
import websockets.asyncio.server
from viser import _messages
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from viewers.web.controls import CONTROLS_PATH, SCRIPT

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BYTES = 1 << 16
"""Of a message from a page."""
PORTS_TRIED = 20
"""How many ports from the one that was asked for."""
_SLOWEST, _FASTEST = 4.0, 60.0
"""Pictures a second that a page can be sent."""
_WANTED = (
    _messages.GuiUpdateMessage,
    _messages.ViewerCameraMessage,
    _messages.SceneNodeClickMessage,
)
"""Messages of viser's page that are passed on. Not, for instance, the one that asks for a tunnel to the internet."""

Told = Callable[[dict[str, Any]], None]
"""Takes what the script in a page says; it runs in the server's thread and must only make a note of it."""


class Guard:
    """What stands between the network and viser."""

    def __init__(self, told: Told):
        """Prepare.

        Args:
            told: hears what the pages' scripts say.
        """
        self._told = told
        self._pages: dict[ServerConnection, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = "{}"
        self._page = gzip.compress(_page())
        self._names = {socket.gethostname().lower(), socket.getfqdn().lower(), *LOOPBACK}

    def tell(self, state: dict[str, Any]) -> None:
        """Tell the scripts of all pages, those that open later too; from any thread."""
        self._state = json.dumps(state)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has stopped
                self._loop.call_soon_threadsafe(broadcast, list(self._pages), self._state)

    @property
    def pace(self) -> float:
        """Pictures a second that the slowest of the pages draws; what is sent beyond would pile up there."""
        return min(list(self._pages.values()), default=_FASTEST)

    def trusts(self, host: str | None) -> bool:
        """Whether a request was made for an address, or a name that is this machine's."""
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            if parts.port == 0:  # and where it is no number, there is an error
                return False
        except ValueError:
            return False
        return name.lower() in self._names or is_address(name)

    def answer(
        self,
        connection: ServerConnection,
        request: Request,
        viser_answers: Callable[[ServerConnection, Request], Response | None],
    ) -> Response | None:
        """Answer a request, None to go on to a WebSocket."""
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not self.trusts(host):
            return connection.respond(HTTPStatus.FORBIDDEN, "This address is not served here.\n")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if origin in (f"http://{host}", f"https://{host}"):
                return None
            return connection.respond(HTTPStatus.FORBIDDEN, "Only for pages of this server.\n")
        # viser's reading of a path, by which it would serve its own page under other spellings of this one's
        steps = unquote(request.path.partition("?")[0]).replace("\\", "/").split("/")
        if [step for step in steps if step not in ("", ".")] not in ([], ["index.html"]):
            return viser_answers(connection, request)
        # a link must not make the page speak to another server (viser's ?websocket=), nor another page frame it
        policy = f"connect-src 'self' ws://{host} wss://{host} data: blob:; frame-ancestors 'none'"
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
        }
        body = self._page
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
        return Response(HTTPStatus.OK, "OK", Headers(headers | {"Content-Length": str(len(body))}), body)

    async def listen(self, connection: ServerConnection) -> None:
        """Hear what the script of one page says, until it goes."""
        self._loop = asyncio.get_running_loop()
        self._pages[connection] = _FASTEST
        try:
            await connection.send(self._state)
            async for message in connection:
                with contextlib.suppress(ValueError, RecursionError):
                    said = json.loads(message)
                    if not isinstance(said, dict):
                        continue
                    if isinstance(fps := said.pop("fps", None), int | float):
                        self._pages[connection] = min(max(fps, _SLOWEST), _FASTEST)
                    self._told(said)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            self._pages.pop(connection, None)

    def sift(self, connection: ServerConnection) -> None:
        """From now on, viser receives only messages that it understands and we want."""
        receive = connection.recv

        async def wanted() -> bytes:
            while True:
                message = await receive()
                if isinstance(message, bytes) and is_wanted(message):
                    return message

        connection.recv = wanted  # type: ignore[method-assign,assignment]


def is_address(name: str) -> bool:
    """Whether a host is given by an address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name)
            return True
    return False


def is_wanted(message: bytes) -> bool:
    """Whether a page may send this."""
    try:
        content = _messages.Message.deserialize(message)
    except Exception:  # a stranger's bytes fail in any way
        return False
    if not isinstance(content, _WANTED) or not all_finite(vars(content)):
        return False
    if isinstance(content, _messages.GuiUpdateMessage):
        return set(content.updates) == {"value"} and is_plain(content.updates["value"])
    if isinstance(content, _messages.ViewerCameraMessage):
        lengths = [(content.wxyz, 4), (content.position, 3), (content.look_at, 3), (content.up_direction, 3)]
        return all(isinstance(value, tuple) and len(value) == n for value, n in lengths)
    index, direction = content.instance_index, content.ray_direction
    return (index is None or type(index) is int) and isinstance(direction, tuple) and len(direction) == 3


def is_plain(value: Any) -> bool:
    """Whether a value can be that of an input; viser makes numbers of text, and of some that are none."""
    if isinstance(value, str):
        try:
            return math.isfinite(float(value))
        except ValueError:
            return True
    return isinstance(value, bool | int | float)


def all_finite(value: Any) -> bool:
    """Whether every number in nested lists and dictionaries is finite."""
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def open_server(host: str, port: int, told: Told) -> tuple[viser.ViserServer, Guard]:
    """Start serving; `server.get_port()` is the port, the next free one from `port`.

    Raises:
        ValueError: no server can be started there.
    """
    port = free_port(host, port)
    guard = Guard(told)
    with _guarded(guard), contextlib.redirect_stdout(io.StringIO()):  # viser prints a table
        server = viser.ViserServer(host=host, port=port, verbose=False)
    return server, guard


def free_port(host: str, port: int) -> int:
    """The first free port from `port` on; ValueError with one sentence if there is none."""
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must be between 1 and 65535, not {port}")
    last = min(port + PORTS_TRIED, 65536)
    for candidate in range(port, last):
        try:
            family, *_, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
                return candidate
        except socket.gaierror as error:
            raise ValueError(f"--host {host} is no address of this machine; 127.0.0.1 is") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            if error.errno == errno.EADDRNOTAVAIL:
                raise ValueError(f"--host {host} is no address of this machine; 127.0.0.1 is") from error
            raise ValueError(f"--port {candidate} cannot be opened ({error.strerror})") from error
    raise ValueError(f"--port: all ports from {port} to {last - 1} are taken; give another one")


@contextlib.contextmanager
def _guarded(guard: Guard) -> Iterator[None]:
    """Servers that viser starts within have this guard; viser offers no other way in."""
    module = websockets.asyncio.server
    serve = module.serve
    quiet = logging.getLogger("trot.web")
    quiet.setLevel(logging.CRITICAL)  # else every stranger's broken handshake is a traceback on the terminal

    def guarded(handler: Callable[[ServerConnection], Any], *args: Any, **options: Any) -> Any:
        viser_answers = options["process_request"]

        async def handle(connection: ServerConnection) -> None:
            if connection.request and connection.request.path == CONTROLS_PATH:
                await guard.listen(connection)
            else:
                guard.sift(connection)
                await handler(connection)

        def answer(connection: ServerConnection, request: Request) -> Response | None:
            return guard.answer(connection, request, viser_answers)

        own = {"process_request": answer, "max_size": MOST_BYTES, "logger": quiet}
        return serve(handle, *args, **(options | own))

    module.serve = guarded  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        module.serve = serve  # type: ignore[misc]


def _page() -> bytes:
    """viser's page with our script in it."""
    page = (Path(viser.__file__).parent / "client" / "build" / "index.html").read_text()
    return page.replace("<head>", f"<head><script>{SCRIPT}</script>", 1).encode()
