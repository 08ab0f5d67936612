"""What the service says when it refuses a request: one form for every error."""

from __future__ import annotations

import json

from actsr_cli.errors import ActsrError

SEE = "Correct the request; /openapi.json describes what is accepted."


class RefusalError(Exception):
    """A request is refused.

    Args:
        status: the HTTP status of the answer.
        what: what is wrong, in one line.
        where: the part of the request that it is about, such as `body.histories.3`.
        what_to_do: what the client can do about it.
        headers: headers of the answer.
    """

    def __init__(
        self, status: int, what: str, where: str, what_to_do: str = SEE, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.where = where
        self.what_to_do = what_to_do
        self.headers = headers or {}

    @classmethod
    def of(cls, error: ActsrError, where: str) -> RefusalError:
        """The refusal of a part of a request that the library does not accept."""
        return cls(422, error.message, where, error.hint or SEE)

    @property
    def body(self) -> bytes:
        """The answer as JSON."""
        told = {"what": self.what, "where": self.where, "what_to_do": self.what_to_do}
        return json.dumps({"error": told}).encode()


def full(what: str) -> RefusalError:
    """The refusal of a request for which there is no room now."""
    return RefusalError(429, what, "server", "Send it again after a second.", {"Retry-After": "1"})
