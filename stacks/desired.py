"""What each store of a manifest should be: manifest + settings + values + chart, joined into plain data.

No engine and no cluster: the gate plans with the very same data that the program registers.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import backup_server, naming
from components.desired import DesiredStore, ReleaseSpec, store_objects
from components.objects import HTTPS_PORT, Destination
from stacks.errors import ManifestError
from stacks.manifest import Caps, Manifest, Store
from stacks.manifest_model import SizeKey, Sizes
from stacks.quantities import parse_bytes, parse_cpu_millis
from stacks.settings import Reach, Settings, settings_file

CHART: Final = "charts/store"

# Of the documented ClusterIssuer, docs/cluster/cluster-issuers.yaml.
SOLVER_LIMITS: Final = {"cpu": "50m", "memory": "64Mi"}

# What does not change a rendered object: its edits must not touch a store.
_NOT_DEPLOYED: Final = ("ci/", "tests/", "README.md", ".helmignore")


class Plans:
    """Turns stores into desired stores; reads the values and digests the chart once."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._settings = settings
        self._values = environment_values(root, settings.environment)
        self._chart_digest = chart_digest(root / CHART)
        if settings.webhook_receiver is not None:
            self._values["webhooks"]["receiverUrl"] = settings.webhook_receiver.url
        self._surroundings = replace(
            settings.surroundings,
            destinations=destinations(settings, self._values),
            database=database_of(settings, self._values),
        )

    def of(self, manifest: Manifest) -> dict[str, DesiredStore]:
        """Return every store of a manifest that is not to go, by its id."""
        return {store.id: self.desired(store) for store in manifest.stores if not store.deleted}

    def desired(self, store: Store) -> DesiredStore:
        """Return the whole store as plain data."""
        settings = self._settings
        values = merge(self._values, store_values(store))
        for part in ("web", "database"):
            _fit_requests(values[part]["resources"])
        values["chartDigest"] = self._chart_digest
        ingress = values["ingress"]
        ingress["host"] = naming.host(store.id, ingress["domain"])
        ingress["port"] = settings.url_port or ingress["port"]
        if store.https and ingress["scheme"] == "http":
            ingress |= {"scheme": "https", "port": settings.https_port or HTTPS_PORT}
            ingress["tls"]["enabled"] = True
        # The first domain of the shop's own is its address; the chart sends visitors of every other host there.
        address = store.domains[0] if store.domains else ingress["host"]
        return DesiredStore(
            store_id=store.id,
            name=store.name,
            owner=store.owner,
            host=ingress["host"],
            url=naming.address(address, scheme=ingress["scheme"], port=ingress["port"]),
            protected=settings.protected,
            objects=store_objects(
                store.id,
                owner=store.owner,
                environment=settings.environment,
                quota=settings.quota,
                surroundings=self._surroundings,
                platform_key_version=settings.platform_key_version,
                repository=repository_of(settings, values),
            ),
            release=ReleaseSpec(chart=f"./{CHART}", values=values, timeout_s=settings.release_timeout_seconds),
            deletion_timeout_s=settings.deletion_timeout_seconds,
        )


def destinations(settings: Settings, values: Mapping[str, Any]) -> tuple[Destination, ...]:
    """Return what a shop's network policy must open for its webhooks and mail: nothing that is open anyway."""
    found = []
    receiver, smtp = settings.webhook_receiver, values["mail"]["smtp"]
    if receiver is not None:
        found.append(receiver.destination(receiver.url_port))
    if smtp["host"]:
        found.append((settings.mail_server or Reach()).destination(smtp["port"]))
    return tuple(each for each in found if each != Destination(HTTPS_PORT))


def repository_of(settings: Settings, values: Mapping[str, Any]) -> Destination | None:
    """Return where stores with these values keep their backups; None where they make none.

    Raises ManifestError where the settings do not say where that is.
    """
    backup = values["backup"]
    if not backup["enabled"]:
        return None
    address, reach = backup["repository"]["url"], settings.backup_repository
    url = urlsplit(address)
    port = url.port or {"http": 80, "https": HTTPS_PORT}[url.scheme]
    if on_our_server(values):
        if reach is not None:
            raise ManifestError(
                settings_file(settings.environment),
                f"stores:backupRepository would do nothing: {address} is the platform's own server",
                "remove it, or name the other place in backup.repository.url of the values",
            )
        return Destination(port, naming.PLATFORM_NAMESPACE, backup_server.LABELS)
    if reach is None:
        _refuse_hidden(settings, "backupRepository", f"backup.repository.url {address}", url.hostname or "")
    return (reach or Reach()).destination(port)


def database_of(settings: Settings, values: Mapping[str, Any]) -> Destination | None:
    """Return where the database server is that stores with these values share; None where each has its own.

    Raises ManifestError where the settings do not say where that is.
    """
    external, reach = values["database"]["external"], settings.database_server
    host = str(external["host"])
    if not host:
        if reach is not None:
            raise ManifestError(
                settings_file(settings.environment),
                "stores:databaseServer would do nothing: database.external.host of the values is empty",
                "remove it, or name the server there",
            )
        return None
    if reach is None:
        _refuse_hidden(settings, "databaseServer", f"database.external.host {host}", host)
    return (reach or Reach()).destination(int(external["port"]))


def _refuse_hidden(settings: Settings, key: str, what: str, host: str) -> None:
    """Raise ManifestError for a host that is surely not public: no policy that opens public addresses leads there."""
    where = settings_file(settings.environment)
    if host.endswith((".svc", ".svc.cluster.local")):
        raise ManifestError(
            where,
            f"{what} is inside of the cluster, and a policy cannot name a Service",
            f"name `namespace`, `labels` and `port` of its pods in stores:{key}",
        )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return  # a name, which may lead anywhere
    if not address.is_global:
        raise ManifestError(where, f"{what} is not public", f"name its range in `cidrs` of stores:{key}")


def on_our_server(values: Mapping[str, Any]) -> bool:
    """Return whether stores with these values keep their backups on the platform's own server."""
    host = urlsplit(values["backup"]["repository"]["url"]).hostname or ""
    # A Service's name: `<service>.<namespace>.svc`, with or without the cluster's domain behind it.
    return bool(values["backup"]["enabled"]) and host.split(".")[1:3] == [naming.PLATFORM_NAMESPACE, "svc"]


def store_values(store: Store) -> dict[str, Any]:
    """Return the chart values that one store's block sets."""
    values: dict[str, Any] = {
        "store": {"title": store.title, "adminEmail": store.admin_email},
        "credentials": {"existingSecret": naming.credentials_secret(store.id)},
        "serviceAccount": {"name": naming.service_account(store.id)},
    }
    if store.web is not None:
        values["web"] = {"resources": _limits(store.web.cpu, store.web.memory)}
    if store.database is not None:
        database: dict[str, Any] = {"resources": _limits(store.database.cpu, store.database.memory)}
        if store.database.storage is not None:
            database["storage"] = {"size": store.database.storage}
        values["database"] = database
    if store.uploads is not None and store.uploads.storage is not None:
        values["uploads"] = {"size": store.uploads.storage}
    if store.image is not None:
        values["image"] = {"tag": store.image.tag}
    if store.domains:
        values["ingress"] = {"domains": list(store.domains)}
    return merge(values, shop_values(store))


def shop_values(store: Store) -> dict[str, Any]:
    """Return the chart values of where and how a store sells; what its block leaves out is the environment's."""
    settings = {
        "country": store.country, "currency": store.currency, "locale": store.locale, "timezone": store.timezone,
    }  # fmt: skip
    values: dict[str, Any] = {"store": {key: value for key, value in settings.items() if value is not None}}
    for key, packages in (("plugins", store.plugins), ("themes", store.themes)):
        if packages:
            values[key] = [package.model_dump() for package in packages]
    if store.wp_content is not None:
        values["wpContent"] = {"mode": store.wp_content}
    return values


def caps(root: Path, settings: Settings) -> Caps:
    """Return what a store may claim, with the sizes and the domain that the environment's values give."""
    values = environment_values(root, settings.environment)
    return Caps(
        cpu_millis=parse_cpu_millis(settings.quota_cpu),
        memory_bytes=parse_bytes(settings.quota_memory),
        storage_bytes=parse_bytes(settings.quota_storage),
        defaults=sizes_in(values),
        host_domain=values["ingress"]["domain"],
        replicas=values["web"]["replicas"],
        wp_content=values["wpContent"]["mode"],
        beside=_beside(values),
        per_web_pod=_amounts([values["cron"]["resources"]["limits"]]),
        database_server=values["database"]["external"]["host"] or None,
    )


def _beside(values: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits of what runs beside WordPress and MariaDB at a store's worst moment, by `cpu` and `memory`."""
    running = []
    if values.get("backup", {}).get("enabled"):
        running.append(values["backup"]["resources"]["limits"])
    if values["ingress"]["tls"]["clusterIssuer"]:
        running.append(SOLVER_LIMITS)
    return _amounts(running)


def _amounts(running: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "cpu": sum(parse_cpu_millis(str(limits["cpu"])) for limits in running),
        "memory": sum(parse_bytes(str(limits["memory"])) for limits in running),
    }


def sizes_in(values: Mapping[str, Any]) -> Sizes:
    """Return the sizes that a release's values come to, by the manifest's keys: those of what it has of its own."""
    web, database = values["web"]["resources"]["limits"], values["database"]["resources"]["limits"]
    sizes: dict[SizeKey, int] = {
        "web.cpu": parse_cpu_millis(str(web["cpu"])),
        "web.memory": parse_bytes(str(web["memory"])),
        "database.cpu": parse_cpu_millis(str(database["cpu"])),
        "database.memory": parse_bytes(str(database["memory"])),
        "database.storage": parse_bytes(str(values["database"]["storage"]["size"])),
        "uploads.storage": parse_bytes(str(values["uploads"]["size"])),
    }
    if values["database"]["external"]["host"]:
        return {key: size for key, size in sizes.items() if not key.startswith("database.")}
    return sizes


def environment_values(root: Path, environment: str) -> dict[str, Any]:
    """Return `values/values-<environment>.yaml`, laid over the chart's own defaults.

    The values of a release are complete, so that `helm upgrade --reuse-values` by hand needs no file.
    """
    chart = _read(root, f"{CHART}/values.yaml")
    return merge(chart, _read(root, f"values/values-{environment}.yaml"))


def chart_digest(chart: Path) -> str:
    """Return the SHA-256 over the chart's deployed files, names included.

    The Kubernetes provider compares a release's inputs only, so an edit of a template would go unnoticed without it.
    """
    total = hashlib.sha256()
    for file in sorted(path for path in chart.rglob("*") if path.is_file()):
        name = file.relative_to(chart).as_posix()
        if name.startswith(_NOT_DEPLOYED):
            continue
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` laid over it, as Helm does: mappings merge, everything else is replaced."""
    merged = deepcopy(dict(base))
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _fit_requests(resources: dict[str, Any]) -> None:
    """Lower the requests to the limits: a block names limits only, and a pod whose request is higher is refused."""
    for name, parse in (("cpu", parse_cpu_millis), ("memory", parse_bytes)):
        limit, request = resources["limits"].get(name), resources.get("requests", {}).get(name)
        if limit is not None and request is not None and parse(str(request)) > parse(str(limit)):
            resources["requests"][name] = limit


def _limits(cpu: str | None, memory: str | None) -> dict[str, Any]:
    limits = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    return {"limits": limits} if limits else {}


def _read(root: Path, where: str) -> dict[str, Any]:
    try:
        document = YAML(typ="safe", pure=True).load((root / where).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(where, "the file is missing", "restore it from the repository") from None
    except YAMLError as error:
        raise ManifestError(where, f"it is no YAML: {' '.join(str(error).split())}", "correct it") from None
    if not isinstance(document, dict):
        raise ManifestError(where, "it holds no mapping", "write chart values as `key: value`")
    return document
