"""A stand-in for a store that is too old: it is greeted, says in INFO what it is, and knows no other command."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from threading import Thread


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while command := _read_command(self.rfile):
            self.wfile.write(self._reply(command[0].upper()))

    def _reply(self, command: bytes) -> bytes:
        server = self.server
        assert isinstance(server, _Server)
        if command == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(server.info), server.info)
        return b"%0\r\n" if command == b"HELLO" else b"-ERR unknown command\r\n"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    info = b""


def _read_command(stream: BufferedIOBase) -> list[bytes]:
    """The words of the next command; empty when the client is gone."""
    words = []
    for _ in range(int(stream.readline()[1:] or 0)):
        length = int(stream.readline()[1:])
        words.append(stream.read(length))
        stream.readline()
    return words


@contextmanager
def store_that_says(**info: str) -> Iterator[str]:
    """The URL of a store whose INFO has these lines."""
    server = _Server(("127.0.0.1", 0), _Connection)
    server.info = "".join(f"{name}:{value}\r\n" for name, value in info.items()).encode()
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
