"""A network camera that speaks RTSP (RFC 2326) and sends JPEGs by RTP over TCP (RFC 2435)."""

from __future__ import annotations

import base64
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field
import itertools
import socket
import socketserver
import struct
import threading
import time
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240  # whole blocks of 16: RFC 2435 counts in 8, 4:2:0 in 16
BITS = 8
PACKET_BYTES = 1400  # of a JPEG; the pictures here are several times as large
PAYLOAD_TYPE = 26
SSRC = 0xCA3E7A
SESSION = 'Session: 1;timeout=60'
METHODS = 'OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN'
SDP = (
    'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n'
    f'm=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=control:track1\r\n'
)
Paint = Callable[[int], np.ndarray]


def numbered(number: int, bgr: tuple[int, int, int] = (200, 60, 20)) -> np.ndarray:
    """A picture (H, W, 3): its number in black and white bars, a colour, and something fine."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        bar = WIDTH // BITS
        picture[:80, bar * bit:bar * (bit + 1)] = 255 * (number >> bit & 1)
    picture[80:160] = bgr
    picture[160:] = np.random.default_rng(number).integers(0, 255, (80, WIDTH, 1), np.uint8)
    return picture


def number_of(picture: np.ndarray) -> int:
    """What ``numbered`` has drawn, modulo 256; ``ValueError`` where it is not there."""
    bars = picture[8:72].reshape(64, BITS, -1, 3)[:, :, 8:-8].mean(axis=(0, 2, 3))
    if picture.shape != (HEIGHT, WIDTH, 3) or ((bars > 40) & (bars < 215)).any():
        raise ValueError(f'not a numbered picture: {picture.shape}, {bars}')
    return sum(1 << bit for bit in range(BITS) if bars[bit] > 128)


def colour_of(picture: np.ndarray) -> tuple[int, int, int]:
    """Mean of the coloured part, BGR."""
    blue, green, red = picture[96:144].mean(axis=(0, 1))
    return round(blue), round(green), round(red)


@dataclass(frozen=True)
class Scan:
    """What RFC 2435 sends of a JPEG."""

    tables: bytes  # quantisation, in zigzag order: luminance, chrominance
    data: bytes    # entropy coded
    width: int
    height: int


def scan_of(jpeg: bytes) -> Scan:
    """Take a JPEG of OpenCV's apart; its Huffman tables are the standard's, which go unsent."""
    at, tables, size = 2, b'', (0, 0)
    while True:
        marker, length = struct.unpack_from('>xBH', jpeg, at)
        body = jpeg[at + 4:at + 2 + length]
        at += 2 + length
        if marker == 0xDB:
            tables += b''.join(body[start + 1:start + 65] for start in range(0, len(body), 65))
        elif marker == 0xC0:
            size = struct.unpack_from('>HH', body, 1)
            assert body[7] == 0x22, 'not 4:2:0'
        elif marker == 0xDA:
            assert len(tables) == 128 and jpeg.endswith(b'\xff\xd9')
            return Scan(tables, jpeg[at:-2], size[1], size[0])


def packets(scan: Scan, first: int, clock_s: float) -> list[bytes]:
    """One picture as RTP packets, numbered from ``first``."""
    made: list[bytes] = []
    ticks = int(90_000 * clock_s) & 0xFFFFFFFF
    for offset in range(0, len(scan.data), PACKET_BYTES):
        part = scan.data[offset:offset + PACKET_BYTES]
        last = offset + len(part) == len(scan.data)
        rtp = struct.pack(
            '>BBHII', 0x80, PAYLOAD_TYPE | last << 7, (first + len(made)) & 0xFFFF, ticks, SSRC
        )
        # Type 1 is 4:2:0; Q 255: the tables come with each picture.
        header = struct.pack('>IBBBB', offset, 1, 255, scan.width // 8, scan.height // 8)
        if offset == 0:
            header += struct.pack('>BBH', 0, 0, len(scan.tables)) + scan.tables
        made.append(rtp + header + part)
    return made


@dataclass
class RtspCamera:
    """Serves rtsp://127.0.0.1:port/eye while it is entered; can be entered again.

    Attributes:
        paint: Makes the picture of a number; OpenCV's JPEG of it is sent.
        rate_hz: Pictures per second.
        silent_at: A method that is not answered, nor anything behind it: a hung camera.
            ``connect``: not even the first.
        silent_after: Pictures of one connection; then it stays open and brings nothing.
        login: ``name:password`` that it wants; empty = none.
        port: 0 = any; stays the same when entered again.
        asked: Methods that came, of all connections.
        painted: The number of the newest picture, of whatever connection.
        connections: Those that came since it was entered.
    """

    paint: Paint = numbered
    rate_hz: float = 50.0
    silent_at: str = ''
    silent_after: int = 1 << 30
    login: str = ''
    port: int = 0
    asked: list[str] = field(default_factory=list)
    painted: int = 0
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f'rtsp://{self.login}{"@" if self.login else ""}127.0.0.1:{self.port}/eye'

    @property
    def basic(self) -> str:
        return 'Basic ' + base64.b64encode(self.login.encode()).decode()

    def __enter__(self) -> RtspCamera:
        self._server = _Server(('127.0.0.1', self.port), _Connection, self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        """As a camera that loses its power: nothing listens, connections break off."""
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections that there are."""
        connections, self.connections = self.connections, []
        for connection in connections:
            with contextlib.suppress(OSError):  # closed by the other side
                connection.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], handler: type[_Connection], camera: RtspCamera
    ) -> None:
        self.camera = camera
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.camera.connections.append(request)
        super().process_request(request, client_address)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self._sending = threading.Lock()  # answers and pictures share the connection
        self._open = True
        camera = self.server.camera
        with contextlib.suppress(OSError):
            while camera.silent_at != 'connect' and self._answer(camera):
                pass
            while self.rfile.readline():  # a hung camera's connection lasts
                pass
        self._open = False

    def _answer(self, camera: RtspCamera) -> bool:
        """Answer one request; False at the end, and where no answer is to come."""
        lines = []
        while line := self.rfile.readline().strip():
            lines.append(line.decode())
        if not lines:
            return False
        method, url = lines[0].split()[:2]
        camera.asked.append(method)
        if method == camera.silent_at:
            return False
        headers = dict(line.split(': ', 1) for line in lines[1:])
        answer, body = ['RTSP/1.0 200 OK', f'CSeq: {headers["CSeq"]}'], ''
        if method == 'OPTIONS':
            answer.append(f'Public: {METHODS}')
        elif headers.get('Authorization', camera.basic) != camera.basic:
            answer[0] = 'RTSP/1.0 403 Forbidden'
        elif camera.login and 'Authorization' not in headers:
            answer[0] = 'RTSP/1.0 401 Unauthorized'
            answer.append('WWW-Authenticate: Basic realm="camera"')
        elif method == 'DESCRIBE':
            body = SDP
            answer += [f'Content-Base: {url}/', 'Content-Type: application/sdp']
        elif method == 'SETUP' and 'RTP/AVP/TCP' not in headers['Transport']:
            answer[0] = 'RTSP/1.0 461 Unsupported transport'
        elif method == 'SETUP':
            answer += ['Transport: RTP/AVP/TCP;unicast;interleaved=0-1', SESSION]
        else:
            answer.append(SESSION)
        answer.append(f'Content-Length: {len(body)}')
        self._send('\r\n'.join([*answer, '', body]).encode())
        if method == 'PLAY':
            threading.Thread(target=self._play, args=(camera,), daemon=True).start()
        return method != 'TEARDOWN'

    def _send(self, data: bytes) -> None:
        with self._sending:
            self.connection.sendall(data)

    def _play(self, camera: RtspCamera) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            for number in itertools.count():
                if not self._open or number >= camera.silent_after:
                    return
                camera.painted = number
                ok, jpeg = cv2.imencode('.jpg', camera.paint(number))
                assert ok
                parts = packets(scan_of(jpeg.tobytes()), sent, time.monotonic())
                sent += len(parts)
                self._send(
                    b''.join(b'$' + struct.pack('>BH', 0, len(part)) + part for part in parts)
                )
                time.sleep(1.0 / camera.rate_hz)
