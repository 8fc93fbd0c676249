"""The object that a request of the engine is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.plugins.kubernetes import inputs as forms
from sandbox.plugins.kubernetes.kinds import Kind, kind_of
from sandbox.plugins.kubernetes.redaction import Redactor
from sandbox.plugins.provider import resource_type
from sandbox.plugins.wire import plain, secret_texts


@dataclass(frozen=True)
class Subject:
    """What is to be made, or is there."""

    urn: str
    token: str
    kind: Kind
    inputs: dict[str, Any]
    """With secret marks."""
    document: dict[str, Any]
    """What the API server gets: the inputs without marks, in its own spelling."""
    manager: str
    """Who owns the fields that the program sets."""

    @classmethod
    def of(cls, request: Any, inputs: Mapping[str, Any], state: Mapping[str, Any]) -> Subject:
        """Return the subject of a request, with the inputs in their normal form."""
        token = resource_type(request)
        kind = kind_of(token)
        normalized = forms.normalized(kind, inputs)
        return cls(
            urn=request.urn,
            token=token,
            kind=kind,
            inputs=normalized,
            document=forms.dashed(plain(normalized)),
            manager=forms.field_manager(request.urn, normalized, state),
        )

    @property
    def namespace(self) -> str:
        """Return the object's namespace, empty where it has none."""
        return str(forms.metadata(self.document).get("namespace") or "")

    @property
    def name(self) -> str:
        """Return the object's name."""
        return str(forms.metadata(self.document).get("name"))

    @property
    def resource_id(self) -> str:
        """Return what the engine knows the object by."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def what(self) -> str:
        """Return how messages name the object."""
        return f"{self.kind} '{self.resource_id}'"

    def is_on(self, annotation: str) -> bool:
        """Say whether an annotation is "true"."""
        return forms.annotation(self.document, annotation) == "true"

    def redactor(self) -> Redactor:
        """Return what takes the object's secrets out of texts."""
        return Redactor(secret_texts(self.inputs))
