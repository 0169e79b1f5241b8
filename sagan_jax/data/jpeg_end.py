"""Whether a JPEG is there to its end, which decoders do not tell: they fill what is missing with grey."""

import re

_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # the others are data or stand alone
START, END = 0xD8, 0xD9


def has_end(content: bytes) -> bool:
    """Whether a JPEG has the marker that ends it, whatever comes after.

    A file whose space was reserved before it was received is filled up with zeros where its transfer broke off. Zeros
    decode to an image like any other bytes, so that no decoder complains; but the marker is missing.

    Args:
        content: The whole file. Segments, and with them the thumbnails within, are passed over by their lengths.
    """
    place = 0
    while (found := _MARKER.search(content, place)) is not None:
        place = found.end()
        if (kind := found[1][0]) == END:
            return True
        if kind != START:
            place += int.from_bytes(content[place : place + 2], "big")
    return False
