"""Fingerprints: what a file is called so that it may be cached for ever, and how a page can prove it. Pure.

A name that holds its content's fingerprint never means anything else; the plain name means whatever is served today.
"""

import base64
import hashlib

# The script of a site, by its method.
SCRIPTS = {"swallow": "okeanides.js", "pirate": "pirate.js"}
DIGITS = 16


def fingerprint(content: bytes) -> str:
    """Return the first 64 bits of a content's SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def fingerprinted(name: str, content: bytes) -> str:
    """Return a file's name, or path, with its content's fingerprint in it: `a.js` becomes `a.0123456789abcdef.js`."""
    stem, dot, kind = name.rpartition(".")
    return f"{stem}.{fingerprint(content)}{dot}{kind}"


def integrity(content: bytes) -> str:
    """Return what a script tag's `integrity` says of a content (w3.org/TR/SRI)."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
