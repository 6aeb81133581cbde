"""What stands between the network and the page: plain ASGI middleware, and the start of the server."""
