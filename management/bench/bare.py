"""A Falcon that answers a GIF and stores nothing: what arms is compared with. `create` is what gunicorn calls."""

import falcon.asgi

from arms.answers import GIF


class Gif:
    """Answers every site's beacons."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, site: str) -> None:
        """Answer the GIF."""
        resp.content_type = "image/gif"
        resp.data = GIF

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, site: str) -> None:
        """Read what came, and answer the GIF."""
        await req.stream.read()
        await self.on_get(req, resp, site)


def create() -> "falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]":
    """Return the application."""
    app: falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response] = falcon.asgi.App()
    app.add_route("/swallow/{site}", Gif())
    return app
