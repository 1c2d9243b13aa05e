"""Who may connect, and what strangers cannot do."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import viser
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from tests.viewers.web.conftest import until
from viewers.web.controls import CONTROLS_PATH
from viewers.web.server import Guard, free_port, is_wanted
from viewers.web.session import Session


def page(session: Session, origin: str | None = "own", path: str = "/", **headers: str) -> ClientConnection:
    """A WebSocket as viser's page opens it."""
    port = session.server.get_port()
    if origin == "own":
        origin = f"http://127.0.0.1:{port}"
    protocol: Any = [f"viser-v{viser.__version__}"] if path == "/" else None
    return connect(
        f"ws://127.0.0.1:{port}{path}",
        origin=origin,  # type: ignore[arg-type]
        subprotocols=protocol,
        additional_headers=headers,
        max_size=None,
        compression=None,
    )


CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [1.0, 1.0, 1.0],
    "fov": 0.75,
    "near": 0.1,
    "far": 100.0,
    "image_height": 100,
    "image_width": 100,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 0.0, 1.0],
}


LISTENING = "0A"
"""State of a socket in /proc/net."""
CLICK = {
    "type": "SceneNodeClickMessage",
    "name": "/world/robots/1",
    "instance_index": 0,
    "ray_origin": [1.0, 1.0, 1.0],
    "ray_direction": [-1.0, -1.0, -1.0],
    "screen_pos": [0.5, 0.5],
    "modifier": None,
}


def say(client: Connection, **message: Any) -> None:
    """Send a message as viser's page does."""
    client.send(msgspec.msgpack.encode(message))


def test_listens_on_loopback_only(session: Session) -> None:
    assert session.server.get_host() == "127.0.0.1" and session.url.startswith("http://127.0.0.1:")
    sockets = [
        line.split()
        for kind in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()
    ]
    ends = [own.split(":") for _, own, _, state, *_ in sockets[1:] if state == LISTENING]
    bound = {address for address, port in ends if int(port, 16) == session.server.get_port()}
    assert bound == {"0100007F"}, "127.0.0.1, in the kernel's notation"


@pytest.mark.parametrize("path", ["/", CONTROLS_PATH])
def test_other_origins_are_refused(session: Session, path: str) -> None:
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", None):
        with pytest.raises(InvalidStatus, match="403"):
            page(session, origin, path)
    with page(session, path=path) as client:
        assert client.recv(timeout=10)


def test_a_foreign_name_that_leads_here_is_refused(session: Session) -> None:
    for host, status in (("evil.example:8080", 403), ("localhost:8080", 200), ("127.0.0.1:x", 403)):
        link = http.client.HTTPConnection("127.0.0.1", session.server.get_port())
        link.request("GET", "/", headers={"Host": host})
        answer = link.getresponse()
        body = answer.read()
        assert answer.status == status
        if status == 200:
            assert CONTROLS_PATH.encode() in body
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        link.close()


@pytest.mark.parametrize(
    "path", ["//", "/./", "/%69ndex.html", "/index.html/", "//index.html", "/?websocket=ws://evil"]
)
def test_the_page_is_guarded_however_its_address_is_spelled(session: Session, path: str) -> None:
    link = http.client.HTTPConnection("127.0.0.1", session.server.get_port())
    link.request("GET", path)
    answer = link.getresponse()
    assert answer.status == 200 and "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    link.close()


def test_no_other_file_is_served(session: Session) -> None:
    for path in ("/../../_viser.py", "/%2e%2e/%2e%2e/_viser.py", "/etc/passwd", "//etc/passwd"):
        link = http.client.HTTPConnection("127.0.0.1", session.server.get_port())
        link.request("GET", path)
        assert link.getresponse().status == 404
        link.close()


def test_garbage_and_twenty_clients_do_not_stop_it(running: Session) -> None:
    session, slider = running, running.page.values["vx"]
    clients = [page(session) for _ in range(20)]
    for client in clients:
        say(client, **CAMERA)
    assert until(lambda: len(session.server.get_clients()) == 20)
    uuid, policy = slider._impl.uuid, session.page.values["policy"]._impl.uuid
    speed, robots = session.page.speed._impl.uuid, session.page.values["robots"]._impl.uuid
    garbage = [
        b"",
        b"\x00garbage" * 100,
        msgspec.msgpack.encode(17),
        msgspec.msgpack.encode({"type": "NoSuchMessage"}),
        msgspec.msgpack.encode({"type": "ShareUrlRequest"}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"update_cb": []}}),
        msgspec.msgpack.encode(
            {"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"value": float("nan")}}
        ),
        msgspec.msgpack.encode(
            {"type": "GuiUpdateMessage", "uuid": policy, "updates": {"value": "/etc/passwd"}}
        ),
        msgspec.msgpack.encode(CAMERA | {"position": [1.0]}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": speed, "updates": {"value": "nan"}}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": robots, "updates": {"value": "9" * 400}}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"value": {}}}),
        msgspec.msgpack.encode(CLICK | {"instance_index": 0.5}),
        msgspec.msgpack.encode(CLICK | {"instance_index": 10**9}),
    ]
    for stranger, message in zip(clients, garbage * 3, strict=False):
        stranger.send(message)
    assert not any(map(is_wanted, garbage[:6] + garbage[8:-1])) and is_wanted(msgspec.msgpack.encode(CLICK))
    clients[0].send("text")
    with page(session, path=CONTROLS_PATH) as script:
        script.send("not json")
        script.send(json.dumps([1, 2]))
        script.send("[" * 5000)
        script.send(json.dumps({"axes": {}, "link": [], "press": 3, "fps": "x"}))
        script.send(f'{{"axes": [{"9" * 400}, 0, 0]}}')
        script.send('{"axes": [NaN, 0, 0], "fps": NaN}')
        script.send(json.dumps({"link": "?policies=1&settings=2&self=3"}))
    with pytest.raises(ConnectionClosed), page(session) as large:
        large.send(b"x" * 1_000_000)
        while True:
            large.recv(timeout=10)
    with socket.create_connection(("127.0.0.1", session.server.get_port())) as raw:
        raw.sendall(b"\xff\xfe\x00 not http\r\n\r\n")
    before = session.simulation.time
    say(clients[-1], type="GuiUpdateMessage", uuid=uuid, updates={"value": 0.75})
    assert until(lambda: session.settings.vx == 0.75)
    assert until(lambda: session.simulation.time > before + 0.2)
    assert session.settings.policy == "one" and session.page.values["policy"].value == "one"
    assert session.server._share_tunnel is None
    for client in clients:
        client.close()


def test_pages_are_sent_the_robots(running: Session) -> None:
    with page(running) as client:
        say(client, **CAMERA)
        moved = 0
        while moved < 5:
            message = client.recv(timeout=20)
            assert isinstance(message, bytes)
            moved += b"batched_positions" in decompressed(message)


def decompressed(message: bytes) -> bytes:
    """What viser packed."""
    import zstandard

    size, packed = (int.from_bytes(message[i : i + 8], "little") for i in (0, 8))
    return zstandard.ZstdDecompressor().decompress(message[16 : 16 + packed], max_output_size=size)


def test_a_taken_port_leads_to_the_next(session: Session) -> None:
    port = session.server.get_port()
    assert free_port("127.0.0.1", port) > port
    with pytest.raises(ValueError, match="1 and 65535"):
        free_port("127.0.0.1", 0)
    with pytest.raises(ValueError, match="no address of this machine"):
        free_port("203.0.113.7", 8080)


def test_addresses_and_own_names_are_trusted() -> None:
    guard = Guard(lambda said: None)
    assert all(map(guard.trusts, ("127.0.0.1:80", "[::1]:80", "localhost", "192.0.2.3:8080")))
    assert not any(map(guard.trusts, (None, "", "evil.example", "127.0.0.1.evil.example:80", "[::1")))


def test_slow_pages_are_sent_fewer_pictures(session: Session) -> None:
    with page(session, path=CONTROLS_PATH) as script:
        script.send(json.dumps({"fps": 7.5}))
        assert until(lambda: session.guard.pace == 7.5)
    assert until(lambda: session.guard.pace == 60.0)
