"""What the API server's refusals mean for the person who runs the engine, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.client import ApiError, CancelledError, UnreachableError
from sandbox.plugins.kubernetes.subject import Subject

_FIELD_CONFLICT = "FieldManagerConflict"


@contextmanager
def translated(subject: Subject) -> Iterator[None]:
    """Make every refusal within name the object and a cure, and no secret."""
    redactor = subject.redactor()
    try:
        yield
    except ApiError as error:
        raise PluginError(redactor.clean(f"{subject.what}: {_sentence(error)}")) from error
    except (CancelledError, UnreachableError):
        raise
    except PluginError as error:
        raise PluginError(redactor.clean(f"{subject.what}: {error}")) from error


def is_taken(error: ApiError) -> bool:
    """Say whether a creation met an object that exists."""
    return error.status == 409 and not error.caused_by(_FIELD_CONFLICT)


def exists(subject: Subject) -> str:
    """Return what to say when a creation meets an object that exists."""
    return (
        "it exists already and is not in this stack's state, and creating takes nothing over; adopt it with "
        f"`pulumi import --generate-code=false {subject.token} NAME {subject.resource_id}` or the resource option "
        "import_, or delete it"
    )


def _sentence(error: ApiError) -> str:
    if error.caused_by(_FIELD_CONFLICT):
        fields = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in error.causes)
        return (
            f"somebody else has set fields of it ({fields}); take them over with the annotation "
            '`pulumi.com/patchForce: "true"`, or leave them alone with ignore_changes'
        )
    if error.status == 409 and "uid" in str(error).lower():
        return (
            "the object in the state is gone, or another one has its name; "
            f"run `pulumi refresh` to see what is there ({error})"
        )
    if error.status == 422:
        return f"the API server finds it invalid: {error}"
    if error.caused_by("NamespaceTerminating"):
        return f"its namespace is being deleted; wait until that is gone, then try again ({error})"
    if error.status == 401 or (error.status == 403 and " cannot " in str(error)):
        return f"not allowed: {error}; check the kubeconfig's user and its roles"
    return f"the API server refuses it: {error}"
