"""Python 2's strings of bytes in Python 3: text with one character for each octet.

The cases of the suite use them. The cases are not changed; these functions convert
their data at the interface to autobahn, which uses bytes.
"""


def raw(s):
    return s.encode("latin-1") if isinstance(s, str) else s


def text(b):
    return b.decode("latin-1") if isinstance(b, bytes) else b


def b2a_hex(s):
    return raw(s).hex()


hexlify = b2a_hex
