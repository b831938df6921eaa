"""The answers: a 1x1 GIF or a few words, the headers that keep them out of every cache, and who may read them."""

import falcon.asgi

from oceanus.sites import Origins

# One white pixel, 35 bytes: header, palette of two, image, trailer.
GIF = b"GIF89a" + bytes.fromhex("01000100800000 ffffffffffff 2c000000000100010000 0202440100 3b")
RETRY_SECONDS = "2"
_UNCACHED = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Expires": "Mon, 01 Jan 1990 00:00:00 GMT",
    "Pragma": "no-cache",
}
# A page that isolates itself (Cross-Origin-Embedder-Policy) would take the image for one that failed.
_IMAGE = {**_UNCACHED, "Cross-Origin-Resource-Policy": "cross-origin"}
_METHODS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}


def gif(resp: falcon.asgi.Response) -> None:
    """Answer the GIF."""
    resp.data = GIF
    resp.content_type = "image/gif"
    resp.set_headers(_IMAGE)


def words(resp: falcon.asgi.Response, text: str) -> None:
    """Answer a short text."""
    resp.text = text
    resp.content_type = "text/plain; charset=utf-8"
    resp.set_headers(_UNCACHED)


def unavailable(resp: falcon.asgi.Response, text: str = "not stored, send it again\n") -> None:
    """Answer that nothing is known to be stored."""
    words(resp, text)
    resp.status = 503
    resp.set_header("Retry-After", RETRY_SECONDS)


def limited(resp: falcon.asgi.Response, reason: str, seconds: int) -> None:
    """Answer that nothing is taken from this sender, or for this site, for so many seconds."""
    words(resp, f"{reason}\n")
    resp.status = 429
    resp.set_header("Retry-After", str(seconds))
    resp.set_header("X-Oceanus-Error", reason)


def cors(resp: falcon.asgi.Response, origins: Origins, origin: str | None) -> None:
    """Say which pages may read the answer: any, or those that the site lists, with their cookies."""
    resp.set_header("Access-Control-Expose-Headers", "X-Oceanus-Error, Retry-After")
    if not origins.allow:
        resp.set_header("Access-Control-Allow-Origin", "*")
        return
    resp.set_header("Vary", "Origin")
    if origin in origins.allow:
        resp.set_header("Access-Control-Allow-Origin", origin)
        resp.set_header("Access-Control-Allow-Credentials", "true")


def preflight(resp: falcon.asgi.Response) -> None:
    """Answer what a browser asks before a POST across origins."""
    resp.status = 204
    resp.set_headers(_METHODS)
