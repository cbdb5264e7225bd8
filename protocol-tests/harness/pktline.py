"""pkt-line as the protocol documents it, for requests made by hand and for reading answers."""

FLUSH, DELIM, RESPONSE_END = b"0000", b"0001", b"0002"


def data(payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return b"%04x" % (len(payload) + 4) + payload


def lines(*payloads):
    """Text lines, each with its newline."""
    return b"".join(data(payload.rstrip("\n") + "\n") for payload in payloads)


def decode(stream):
    """The packets of a whole answer: bytes for data, None for flush, "delim", "end" for the other two."""
    position = 0
    while position < len(stream):
        length = int(stream[position : position + 4], 16)
        if length < 4:
            assert length != 3, "length 0003 is invalid"
            yield (None, "delim", "end")[length]
            position += 4
            continue
        payload = stream[position + 4 : position + length]
        assert len(payload) == length - 4, "truncated packet"
        yield payload
        position += length


def parse_bands(packets):
    """(band 1, band 2, band 3) of side-band packets up to the flush."""
    bands = {1: bytearray(), 2: bytearray(), 3: bytearray()}
    for packet in packets:
        if packet is None:
            break
        bands[packet[0]] += packet[1:]
    return bytes(bands[1]), bytes(bands[2]), bytes(bands[3])
