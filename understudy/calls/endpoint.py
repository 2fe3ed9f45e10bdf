"""
Where a server is and how it is spoken to: address, key and headers, for direct calls and for batches.

Azure's classic addresses name the deployment in the path and the version in a query, and take the key in a header of
its own. A query may carry a version, never a secret: an address is written into logs and messages.
"""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from understudy.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

OPENAI = "https://api.openai.com/v1"
_ADDRESS = re.compile(r"https?://[^/?@#][^@#]*")
_SECRET = re.compile(r"key|token|secret|pass|sig|auth|credential|^code$|^user", re.IGNORECASE)
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure-api.net")
_AZURE_PATH = "/openai/deployments/"
_AZURE_HEADER = "api-key"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Endpoint(NamedTuple):
    """A server's address, and what goes with every request to it."""

    address: str
    key: str
    headers: dict[str, str]
    secrets: tuple[str, ...]
    """What no message may show."""

    @classmethod
    def of(
        cls, base_url: str | None, api_key: str | None, api_key_env: str, headers: Mapping[str, str] | None = None
    ) -> "Endpoint":
        """The endpoint of a preset. `${NAME}` in a header stands for a variable. Raises ConfigError."""
        key, address = (api_key or "").strip(), base_url or OPENAI
        if not _sendable(key) or " " in key:
            raise ConfigError([f"the key in {api_key_env} holds a space or a character no key has; copy it again"])
        # Not shown: a user or a query may well be a secret.
        if not _ADDRESS.fullmatch(address):
            raise ConfigError(["teacher.base_url has to begin with http:// or https://, without a user"])
        query = parse_qsl(urlsplit(address).query, keep_blank_values=True)
        if any(_SECRET.search(name) or (key and key in value) for name, value in query):
            raise ConfigError(
                ["teacher.base_url has a secret in its query; put it into the variable of teacher.api_key_env"]
            )
        sent, secrets = _filled(headers or {})
        return cls(address, key, sent, tuple(filter(None, (key, *secrets))))

    @property
    def key_header(self) -> str | None:
        """The header that carries the key alone; None for the usual `Authorization: Bearer`."""
        host, path = urlsplit(self.address).hostname or "", urlsplit(self.address).path
        return _AZURE_HEADER if host.endswith(_AZURE) or _AZURE_PATH in path else None

    def arguments(self) -> dict[str, Any]:
        """How a client of the openai package is made for it."""
        parts = urlsplit(self.address)
        own = {self.key_header: self.key} if self.key_header and self.key else {}
        return {
            "api_key": self.key or "none",
            "base_url": urlunsplit(parts._replace(query="")),
            "default_query": dict(parse_qsl(parts.query)),
            "default_headers": own | self.headers,
        }

    def prepare(self, request: "httpx2.Request") -> None:
        """Take out the bearer token that the client sets and this server would refuse: for a client's event hook."""
        if self.key_header and "authorization" not in {name.lower() for name in self.headers}:
            request.headers.pop("authorization", None)

    async def prepare_async(self, request: "httpx2.Request") -> None:
        """The same for an asynchronous client."""
        self.prepare(request)


def _filled(headers: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The headers with their variables filled in, and the values that came from there. Raises ConfigError."""
    names = [name for value in headers.values() for name in _VARIABLE.findall(value)]
    problems = [
        f"teacher.headers: the variable {name} is not set; export it" for name in names if name not in os.environ
    ]
    filled = {name: _VARIABLE.sub(lambda match: os.environ.get(match[1], ""), text) for name, text in headers.items()}
    problems += [
        f"teacher.headers: {name!r} is no header that can be sent: use letters, digits and hyphens, in ASCII"
        for name, text in filled.items()
        if not _HEADER.fullmatch(name) or not _sendable(text)
    ]
    if problems:
        raise ConfigError(problems)
    return filled, [os.environ[name] for name in names]


def _sendable(text: str) -> bool:
    return text.isascii() and text.isprintable()
