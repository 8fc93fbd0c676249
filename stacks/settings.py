"""The settings of one environment: `Pulumi.<environment>.yaml`, typed and closed.

The only reader of `pulumi.Config`. The gate reads the same file without an engine, so both see the same settings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import backup_server, naming
from components.objects import DNS_PORT, HTTPS_PORT, Destination, Quota, Surroundings
from stacks.errors import ManifestError, Problem

_PREFIX: Final = f"{naming.PROJECT}:"
# The engine hands lists and maps over as JSON.
_STRUCTURED: Final = frozenset(
    {
        "admins",
        "backupRepository",
        "clusterCidrs",
        "databaseServer",
        "dnsCidrs",
        "dnsPorts",
        "ingressCidrs",
        "ingressLabels",
        "mailServer",
        "webhookReceiver",
    }
)


def _range_of_ipv4(text: str) -> str:
    """Return the range if it is one; policies put it beside other ranges of IPv4."""
    return str(ipaddress.IPv4Network(text))


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Cidr = Annotated[str, AfterValidator(_range_of_ipv4)]
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Reach(BaseModel):
    """Where something that shops call is, for the network policies: pods, addresses, or the public internet."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    namespace: DnsLabel | None = None
    """The namespace of its pods; None is outside of the cluster."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The labels of its pods; required with `namespace`, so that nothing else of the namespace is opened."""
    port: Port | None = None
    """The port of its pods, which may differ from the Service's; None takes that of the address."""
    cidrs: tuple[Cidr, ...] = ()
    """Its addresses, where it is neither a pod nor public."""

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if (self.namespace is None) != (not self.labels):
            raise ValueError("`namespace` and `labels` go together: pods with these labels in that namespace")
        if self.namespace is not None and self.cidrs:
            raise ValueError("it has a `namespace` and `cidrs`; keep one of them")
        return self

    def destination(self, port: int) -> Destination:
        """Return it as the policies need it; `port` is that of its address."""
        return Destination(self.port or port, self.namespace, self.labels, self.cidrs)


class WebhookReceiver(Reach):
    """The one receiver of every shop's events."""

    url: Annotated[
        str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/{}-]*)?$", max_length=500)
    ]
    """Where events go; `{store}` stands for the store id."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        host = urlsplit(self.url).hostname or ""
        if host.endswith((".svc", ".svc.cluster.local")) and self.namespace is None:
            raise ValueError(f"{host} is inside of the cluster; name the `namespace`, `labels` and `port` of its pods")
        return self

    @property
    def url_port(self) -> int:
        """Return the port of the address."""
        parts = urlsplit(self.url)
        return parts.port or {"http": 80, "https": HTTPS_PORT}[parts.scheme]


class Settings(BaseModel):
    """What the platform promises and allows in one environment. Keys in the file are camelCase, after `stores:`."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    environment: Annotated[str, Field(pattern=naming.ENVIRONMENT_PATTERN.pattern)]
    """Required, so that a stack that was given no config plans nothing at all instead of plans with defaults."""
    protected: bool
    """Every resource is protected, and changes need a ticket."""
    single_host: bool = False
    """A protected environment on one machine: allows a state on its disk."""

    context: str | None = None
    """The kubeconfig's context; None is the current one. Set it where a wrong cluster would hurt."""
    cluster_uid: str | None = None
    """The uid of the one right cluster's kube-system namespace; None takes the first cluster met and records it."""
    ingress_namespace: DnsLabel = "ingress-nginx"
    """Where the ingress controller's pods run: the only ones that may call a shop."""
    ingress_labels: dict[str, str] = Field(default_factory=dict)
    """The labels of these pods, where others run beside them (k3s: Traefik in kube-system); none: all pods there."""
    ingress_cidrs: tuple[Cidr, ...] = ()
    """The nodes' addresses, where the ingress controller runs on the nodes' own network: they may call a shop too."""
    dns_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (DNS_PORT,)
    """The name server's ports in its own pods, which may differ from those of its Service (OpenShift: 5353)."""
    dns_cidrs: tuple[Cidr, ...] = ()
    """Where a name server on the nodes' own network answers (NodeLocal DNSCache: 169.254.20.10/32)."""
    cluster_cidrs: tuple[Cidr, ...] = ()
    """Ranges of pods, services, nodes and the API server outside of the private ones, which shops must not call."""
    platform_key_version: Positive = 1
    """The version of the platform key that the webhooks' secrets come from; see docs/platform-key.md."""
    url_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port in the shops' addresses; None takes `ingress.port` of the values."""
    https_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of shops with `https: true` where the environment's own scheme is http; None is 443."""
    ca_file: str | None = None
    """A file with the authorities, in PEM, that sign the ingress's certificates, relative to the project's root; None
    takes the machine's own. Only what asks whether a store answers reads it."""

    webhook_receiver: WebhookReceiver | None = None
    """Where shops tell of changed products; None: nowhere. See docs/events.md."""
    mail_server: Reach | None = None
    """Where the server of the values' `mail.smtp.host` is; None is a public address."""
    database_server: Reach | None = None
    """Where the server of the values' `database.external.host` is; None is a public address. See docs/database.md."""
    sandbox_woocommerce: str | None = None
    sandbox_storefront: str | None = None
    """A folder or zip archive with the real WooCommerce or Storefront, relative to the project's root: the sandbox puts
    it into the shops' image. None takes the stand-in. Only the sandbox reads them."""

    quota_cpu: Quantity = "2"
    quota_memory: Quantity = "4Gi"
    quota_storage: Quantity = "20Gi"
    quota_persistent_volume_claims: Count = 4
    quota_pods: Positive = 12
    quota_services: Positive = 6
    """Per store. A store's own sizes may not go over them."""

    admins: tuple[str, ...] = ()
    """Who may pass a limit with a reason and purge archived entries; names as the audit log has them. None: nobody."""

    stores_per_owner: Count = 10
    creates_per_hour: Count = 5
    stores_total: Count = 100
    """Over all cells of the environment; an owner's own figures stand in owners.yaml."""

    backup_repository: Reach | None = None
    """Where the object store of the values' `backup.repository.url` is; None is a public address."""
    backup_server_image: str = backup_server.IMAGE
    backup_server_storage: Quantity = "20Gi"
    backup_server_storage_class: DnsLabel | None = None
    """The platform's own repository server and its volume, where the values name it; class None is the cluster's."""
    deleted_backups_days: Count = 90
    """How many days the backups of a deleted store are kept at least; `stores prune-backups` removes them then."""
    final_backup: bool | None = None
    """Whether a tombstoned store is backed up before it is removed; None: in protected environments."""

    release_timeout_seconds: Positive = 600
    """How long a store's pods may take until the release counts as failed."""
    ready_timeout_seconds: Positive = 180
    """How long a store may take to answer over HTTP after its release is up."""
    deletion_timeout_seconds: Positive = 300
    """How long a removed store's namespace and volumes may take to go, until the run says what holds them."""
    deletion_grace_hours: Count = 168
    """Protected environments: how long a tombstoned store stays before it is removed."""

    @property
    def quota(self) -> Quota:
        """Return what one store may take in all."""
        return Quota(
            cpu=self.quota_cpu,
            memory=self.quota_memory,
            storage=self.quota_storage,
            persistent_volume_claims=self.quota_persistent_volume_claims,
            pods=self.quota_pods,
            services=self.quota_services,
        )

    @property
    def final_backups(self) -> bool:
        """Whether a tombstoned store is backed up before it is removed."""
        return self.protected if self.final_backup is None else self.final_backup

    @property
    def surroundings(self) -> Surroundings:
        """Return what the cluster looks like from a store."""
        return Surroundings(
            ingress_namespace=self.ingress_namespace,
            ingress_labels=self.ingress_labels,
            ingress_cidrs=self.ingress_cidrs,
            dns_ports=self.dns_ports,
            dns_cidrs=self.dns_cidrs,
            cluster_cidrs=self.cluster_cidrs,
        )


def settings_file(environment: str) -> str:
    """Return the settings file's name, relative to the project's root."""
    return f"Pulumi.{environment}.yaml"


def load(root: Path, environment: str) -> Settings:
    """Return the settings of an environment; raises ManifestError with every problem of its file."""
    config = config_of(root, environment)
    where = settings_file(environment)
    settings = parse(config, where)
    if settings.environment != environment:
        raise ManifestError(
            where,
            f"environment is {settings.environment!r}, but the file is that of {environment!r}",
            f"set stores:environment to {environment}",
        )
    return settings


def config_of(root: Path, environment: str) -> dict[str, Any]:
    """Return the raw `stores:` keys of an environment's file, without the prefix."""
    document = stack_document(root, environment)
    where = settings_file(environment)
    config = document.get("config")
    if not isinstance(config, Mapping):
        raise ManifestError(where, "it has no `config:`", "see docs/settings.md for the keys")
    foreign = [key for key in config if not str(key).startswith(_PREFIX)]
    if foreign:
        raise ManifestError.of(
            [Problem(where, f"the key {key!r} is not ours", f"write it as `{_PREFIX}<key>`") for key in foreign]
        )
    return {str(key).removeprefix(_PREFIX): value for key, value in config.items()}


def stack_document(root: Path, environment: str) -> dict[str, Any]:
    """Return the whole settings file, the engine's own keys included."""
    where = settings_file(environment)
    try:
        document = YAML(typ="safe", pure=True).load((root / where).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
        raise ManifestError(
            where, f"there is no environment {environment!r}", f"use one of: {', '.join(known) or 'none yet'}"
        ) from None
    except YAMLError as error:
        raise ManifestError(where, f"it is no YAML: {_one_line(error)}", "correct it") from None
    if not isinstance(document, dict):
        raise ManifestError(where, "it is empty", "see docs/settings.md for the keys")
    return document


def parse(config: Mapping[str, Any], where: str) -> Settings:
    """Return typed settings of raw keys; the engine hands every value over as text, the file as YAML types."""
    try:
        return Settings.model_validate(dict(config))
    except ValidationError as error:
        raise ManifestError.of(
            [
                Problem(
                    where,
                    f"{_PREFIX}{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
                    + ("" if item["type"] == "missing" else f" (it is {item['input']!r})"),
                    "see docs/settings.md for the key's form",
                )
                for item in error.errors()
            ]
        ) from None


def from_engine() -> Settings:
    """Return the settings of the stack that is running; call it only inside a Pulumi program."""
    import pulumi  # noqa: PLC0415 - the engine's SDK takes 0.5 s to load, and the gate reads settings without it

    config = pulumi.Config(naming.PROJECT)
    names = {field.alias or name for name, field in Settings.model_fields.items()}
    found = {name: value for name in names if (value := config.get(name)) is not None}
    for name in _STRUCTURED & found.keys():
        found[name] = config.require_object(name)
    return parse(found, f"the config of stack {pulumi.get_stack()}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
