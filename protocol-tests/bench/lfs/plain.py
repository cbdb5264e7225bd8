"""The least that a server of uploads can do: one thread that receives, hashes and writes, durably, and answers.

`python plain.py PORT DIRECTORY`. What it takes is what the machine asks of anybody; it proves, names and shares nothing.
"""

import hashlib
import os
import socket
import sys
from pathlib import Path

PIECE = 1 << 20


def serve(connection, directory):
    stream = connection.makefile("rb", buffering=0)
    piece = memoryview(bytearray(PIECE))
    while head := _head(stream):
        length = int(next(line for line in head.split("\r\n") if line.lower().startswith("content-length:")).split(":")[1])
        digest, name = hashlib.sha256(), directory / "received"
        with open(name, "wb", buffering=0) as file:
            while length:
                read = stream.readinto(piece[: min(PIECE, length)])
                digest.update(piece[:read])
                file.write(piece[:read])
                length -= read
            os.fsync(file.fileno())
        assert digest.hexdigest()
        name.unlink()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.read(1)
        if not byte:
            return None
        head += byte
    return head.decode("latin-1").strip()


def main():
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
