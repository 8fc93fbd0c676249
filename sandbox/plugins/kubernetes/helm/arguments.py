"""The inputs of a release: the official plugin's, with its defaults, and what each means for the `helm` program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.wire import UNKNOWN, Asset, Properties, Secret, has_secret, has_unknown, plain

DEFAULT_TIMEOUT_S: Final = 300

_SWITCHES: Final = (
    "allowNullValues",
    "atomic",
    "cleanupOnFail",
    "createNamespace",
    "dependencyUpdate",
    "devel",
    "disableCRDHooks",
    "disableOpenapiValidation",
    "disableWebhooks",
    "forceUpdate",
    "lint",
    "recreatePods",
    "renderSubchartNotes",
    "replace",
    "resetValues",
    "reuseValues",
    "skipAwait",
    "skipCrds",
    "takeOwnership",
    "verify",
    "waitForJobs",
)
_TEXTS: Final = ("chart", "description", "keyring", "name", "namespace", "postrender", "version")
_NUMBERS: Final = ("maxHistory", "timeout")
_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(_SWITCHES, bool),
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_NUMBERS, int),
    "compat": str,
    "repositoryOpts": dict,
    "valueYamlFiles": list,
    "values": dict,
}
_REPOSITORY: Final = {
    "repo": "--repo",
    "caFile": "--ca-file",
    "certFile": "--cert-file",
    "keyFile": "--key-file",
    "username": "--username",
}
# Read once, into the values; or of use for the SDK alone.
_NOT_KEPT: Final = ("valueYamlFiles", "compat")
# What a release is. All else says how to work on it, which no release remembers.
LIVE: Final = ("name", "namespace", "chart", "version", "values")

# Input -> the program's switch, for both commands and for one of them. `disableWebhooks` and `disableCRDHooks` are the
# official plugin's names for the hooks of an install and of an upgrade.
_FLAGS: Final = {
    "atomic": "--atomic",
    "devel": "--devel",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "dependencyUpdate": "--dependency-update",
    "renderSubchartNotes": "--render-subchart-notes",
    "skipCrds": "--skip-crds",
    "takeOwnership": "--take-ownership",
    "verify": "--verify",
}
_INSTALL_FLAGS: Final = {
    "createNamespace": "--create-namespace",
    "disableWebhooks": "--no-hooks",
    "replace": "--replace",
}
_UPGRADE_FLAGS: Final = {
    "cleanupOnFail": "--cleanup-on-fail",
    "disableCRDHooks": "--no-hooks",
    "forceUpdate": "--force",
    "recreatePods": "--recreate-pods",
    "resetValues": "--reset-values",
    "reuseValues": "--reuse-values",
}


def problems(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (property, what is wrong with it)."""
    if not given.get("chart"):
        yield "chart", "missing; name a chart, or the path of one below the project's folder"
    for name, marked in given.items():
        value = plain(marked)
        wanted = _TYPES.get(name)
        if name == "manifest":
            yield name, str(NotSupportedError("the input `manifest` of a release"))
        elif name == "resourceNames":
            yield name, "is an output of a release; remove it"
        elif wanted is None:
            yield name, "unknown input; remove it"
        elif value not in (None, UNKNOWN) and (
            not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
        ):
            yield name, f"is a {type(value).__name__}, not a {wanted.__name__}"
        elif wanted is int and isinstance(value, int) and value < 0:
            yield name, f"is {value}; it must not be below 0"
    yield from _repository_problems(plain(given.get("repositoryOpts")))


def _repository_problems(options: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(options, dict):
        return
    for name in options:
        if name == "password":
            # The program takes it on its command line alone, where every process of the machine can read it.
            yield "repositoryOpts.password", str(NotSupportedError("a chart repository with a password"))
        elif name not in _REPOSITORY:
            yield f"repositoryOpts.{name}", "unknown input; remove it"


def filled(given: Properties, *, name: str, namespace: str) -> Properties:
    """Return the inputs with the official plugin's defaults, and the values of all files in one."""
    inputs: Properties = {
        **dict.fromkeys(_SWITCHES, False),
        **dict.fromkeys(_TEXTS, ""),
        "timeout": 0 if given.get("skipAwait") is True else DEFAULT_TIMEOUT_S,
    }
    inputs |= {key: value for key, value in given.items() if value is not None and key not in _NOT_KEPT}
    inputs["name"] = given.get("name") or name
    inputs["namespace"] = given.get("namespace") or namespace
    inputs["values"] = _values(given)
    if inputs["verify"] is True and not inputs["keyring"]:
        inputs["keyring"] = str(Path("~/.gnupg/pubring.gpg").expanduser())
    return inputs


def _values(given: Mapping[str, Any]) -> Any:
    """Return the values of the files, each over those before it, and over all of them the values in place."""
    files = given.get("valueYamlFiles")
    in_place = given.get("values") or {}
    if not files:
        return in_place
    if has_unknown(files) or in_place is UNKNOWN:
        return UNKNOWN
    merged: Any = {}
    for file in plain(files):
        merged = _merged(merged, _loaded(file))
    if isinstance(in_place, Secret):
        return Secret(_merged(merged, plain(in_place)))
    merged = _merged(merged, in_place)
    return Secret(merged) if has_secret(files) else merged


def _loaded(file: Any) -> dict[str, Any]:
    if not isinstance(file, Asset) or file.uri:
        raise NotSupportedError("an entry of `valueYamlFiles` other than a file or a text")
    where = file.path or "a text"
    try:
        text = file.text if file.path is None else Path(file.path).read_text(encoding="utf-8")
        document = yaml.safe_load(text or "")
    except OSError as error:
        raise PluginError(f"valueYamlFiles: {where}: {error.strerror}; correct the path") from error
    except yaml.YAMLError as error:
        raise PluginError(f"valueYamlFiles: {where} is not YAML; correct it") from error
    if document is not None and not isinstance(document, dict):
        raise PluginError(f"valueYamlFiles: {where} holds no map of values; correct it")
    return document or {}


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {
            name: _merged(below[name], above[name]) if name in below and name in above else {**below, **above}[name]
            for name in {**below, **above}
        }
    return above


def install_arguments(inputs: Mapping[str, Any], timeout_s: float) -> list[str]:
    """Return the switches of `helm install`; values come by standard input."""
    return [*_common(inputs, timeout_s), *_chosen(inputs, _INSTALL_FLAGS)]


def upgrade_arguments(inputs: Mapping[str, Any], timeout_s: float) -> list[str]:
    """Return the switches of `helm upgrade`; values come by standard input."""
    history = inputs.get("maxHistory") or 0
    return [*_common(inputs, timeout_s), *_chosen(inputs, _UPGRADE_FLAGS), "--history-max", str(history)]


def source_arguments(inputs: Mapping[str, Any]) -> list[str]:
    """Return the switches that say where a chart is fetched from; none for a chart that lies below the project."""
    options = inputs.get("repositoryOpts") or {}
    return [part for name, flag in _REPOSITORY.items() if options.get(name) for part in (flag, str(options[name]))]


def uninstall_arguments(inputs: Mapping[str, Any], timeout_s: float) -> list[str]:
    """Return the switches of `helm uninstall`."""
    waits = inputs.get("atomic") or not inputs.get("skipAwait")
    return ["--wait", "--timeout", _duration(timeout_s)] if waits else []


def timeout_s(inputs: Mapping[str, Any], requested_s: float = 0) -> float:
    """Return how long an operation may take: the resource's own timeout option goes before the release's input."""
    return requested_s or float(inputs.get("timeout") or DEFAULT_TIMEOUT_S)


def _common(inputs: Mapping[str, Any], timeout: float) -> list[str]:
    arguments = [*source_arguments(inputs), *_chosen(inputs, _FLAGS), "--timeout", _duration(timeout)]
    if not inputs.get("skipAwait"):
        arguments.append("--wait")
        if inputs.get("waitForJobs"):
            arguments.append("--wait-for-jobs")
    for name, flag in (("description", "--description"), ("postrender", "--post-renderer")):
        if inputs.get(name):
            arguments += [flag, str(inputs[name])]
    if inputs.get("verify"):
        arguments += ["--keyring", str(inputs["keyring"])]
    # Of no effect for a chart below the project's folder, which has the version that it has.
    if inputs.get("version"):
        arguments += ["--version", str(inputs["version"])]
    return arguments


def _chosen(inputs: Mapping[str, Any], flags: Mapping[str, str]) -> list[str]:
    return [flag for name, flag in flags.items() if inputs.get(name)]


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"
