"""Servers, as the tests of the server start them."""

from tests.server.conftest import sandbox, serve

__all__ = ["sandbox", "serve"]
