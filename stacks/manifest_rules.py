"""Rules that look at more than one value of a manifest. Pure: data in, problems out.

They work on drafts, what could be read of each block, so that a block with a mistake still takes part: a person sees
all problems at once and not one layer after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from components import naming
from stacks.errors import Problem
from stacks.manifest_model import SizeKey, Sizes, sizes_of
from stacks.manifest_problems import block_label, nearest
from stacks.quantities import format_bytes, format_cpu_millis
from stacks.yaml_document import KeyPath, YamlDocument

STORES_PER_CELL: Final = 10

PERSISTENT: Final = "persistent"

_SUMS: Final[Mapping[str, tuple[SizeKey, SizeKey]]] = {
    "cpu": ("web.cpu", "database.cpu"),
    "memory": ("web.memory", "database.memory"),
    "storage": ("database.storage", "uploads.storage"),
}
_NUMBERS: Final = {2: "two", 3: "three"}
_SETTINGS: Final = {"cpu": "stores:quotaCpu", "memory": "stores:quotaMemory", "storage": "stores:quotaStorage"}


@dataclass(frozen=True)
class Caps:
    """What one store may take in all, over its containers and volumes, and which hosts it may not.

    `host_domain` is the domain below which the platform gives every store its host; None: not known.
    `defaults` are the sizes of the environment's values, for blocks that name none; without them only what a block
    names is summed up. `beside` is what runs beside WordPress and MariaDB at a store's worst moment, by `cpu` and
    `memory`: a backup, a certificate solver; `per_web_pod` what does in each web pod: the scheduled tasks.
    """

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    defaults: Sizes = field(default_factory=dict)
    host_domain: str | None = None
    replicas: int = 1
    wp_content: str = "immutable"
    """The environment's, for blocks that name no other."""
    beside: Mapping[str, int] = field(default_factory=dict)
    per_web_pod: Mapping[str, int] = field(default_factory=dict)
    database_server: str | None = None
    """The host of the server that all stores share; None: each has its own, whose size a block may name."""

    def web_pods(self, wp_content: str | None) -> int:
        """Return how many web pods a store has while it is updated.

        The new pod starts before an old one ends, so there must be room for one more: a store that just fits when it is
        made could never be updated. Where wp-content is kept, the old one ends first.
        """
        return self.replicas + ((wp_content or self.wp_content) != PERSISTENT)

    def of(self, kind: str) -> int:
        """Return the cap of `cpu`, `memory` or `storage`."""
        return {"cpu": self.cpu_millis, "memory": self.memory_bytes, "storage": self.storage_bytes}[kind]


@dataclass(frozen=True)
class Draft:
    """What could be read of one store's block. None: not there, or not text."""

    index: int
    label: str
    id: str | None
    name: str | None
    owner: str | None
    cell: str | None
    sizes: Sizes
    domains: Sequence[tuple[int, str]] = ()
    """The shop's own domains as DNS compares them, each with its place in the list."""
    deleted: bool = False
    wp_content: str | None = None

    @property
    def path(self) -> tuple[str, int]:
        """Return where the block stands in its document."""
        return ("stores", self.index)


def drafts_of(document: YamlDocument) -> list[Draft]:
    """Return a draft of every block that is a mapping."""
    data = document.data
    stores = data.get("stores") if isinstance(data, Mapping) else None
    blocks = stores if isinstance(stores, tuple) else ()
    return [_draft(index, block, document) for index, block in enumerate(blocks) if isinstance(block, Mapping)]


def missing_keys(draft: Draft, document: YamlDocument) -> list[str]:
    """Return which of the keys that the tool writes, `id` and `cell`, nobody has written yet.

    One that is there but wrong is not missing: nobody may overwrite what could be the name of existing data.
    """
    return [key for key in ("id", "cell") if not document.written((*draft.path, key))]


def written_by_tool_problems(drafts: Iterable[Draft], document: YamlDocument, environment: str) -> list[Problem]:
    """Return a problem for every id or cell that nobody has written yet."""
    cure = f"run `stores fmt --env {environment}`, which writes it"
    return [
        Problem(document.at(draft.path), f"{draft.label}: {key} is missing", cure)
        for draft in drafts
        for key in missing_keys(draft, document)
        if (*draft.path, key) not in document.lines
    ]


def identity_problems(drafts: Iterable[Draft], document: YamlDocument) -> list[Problem]:
    """Return a problem for every id that another block has already: namespace and host come from it."""
    first: dict[str, Draft] = {}
    problems = []
    for draft in drafts:
        if draft.id is None:
            continue
        # DNS does not tell upper from lower case, so neither may this.
        other = first.setdefault(draft.id.lower(), draft)
        if other is not draft:
            line = document.line((*other.path, "id"))
            what = f"{draft.label}: the id is that of line {line} too, and so are namespace and host"
            problems.append(
                Problem(document.at((*draft.path, "id")), what, "remove this id and run `stores fmt` for a new one")
            )
    return problems


def cell_problems(drafts: Iterable[Draft], document: YamlDocument) -> list[Problem]:
    """Return a problem for every store beyond the tenth of a cell."""
    count: Counter[str] = Counter()
    problems = []
    for draft in drafts:
        if draft.cell is None:
            continue
        count[draft.cell] += 1
        if count[draft.cell] > STORES_PER_CELL:
            what = f"{draft.label}: it is store {count[draft.cell]} of cell {draft.cell}, at most {STORES_PER_CELL}"
            cure = "remove `cell` from the block that was added last and run `stores fmt`"
            problems.append(Problem(document.at((*draft.path, "cell")), what, cure))
    return problems


def domain_problems(drafts: Sequence[Draft], host_domain: str | None, document: YamlDocument) -> list[Problem]:
    """Return a problem for every domain that would not lead to this store alone."""
    hosts = {naming.host(d.id, host_domain): d for d in drafts if d.id is not None} if host_domain else {}
    first: dict[str, tuple[Draft, KeyPath]] = {}
    problems = []
    for draft in drafts:
        for index, domain in draft.domains:
            path = (*draft.path, "domains", index)
            other, earlier = first.setdefault(domain, (draft, path))
            if domain in hosts:
                fault = _taken_host(hosts[domain], draft, document)
            elif host_domain and (domain == host_domain or domain.endswith(f".{host_domain}")):
                what = f"lies in {host_domain}, where the platform itself gives out hosts"
                fault = (what, "use a domain of the shop's own")
            elif earlier != path:
                cure = "remove one of the two"
                if other.deleted:
                    cure = f"take it out of that block: {other.label} keeps it until it is gone"
                fault = (f"stands in line {document.line(earlier)} too", cure)
            else:
                continue
            what, cure = fault
            problems.append(Problem(document.at(path), f"{draft.label}: the domain '{domain}' {what}", cure))
    return problems


def _taken_host(holder: Draft, draft: Draft, document: YamlDocument) -> tuple[str, str]:
    if holder is draft:
        return "is the store's own host already", "remove it"
    line = document.line((*holder.path, "id"))
    return f"is the host that the platform gives to {holder.label} (line {line})", "use a domain of the shop's own"


def owner_problems(drafts: Iterable[Draft], owners: Sequence[str], document: YamlDocument) -> list[Problem]:
    """Return a problem for every store whose owner is not in owners.yaml."""
    problems = []
    for draft in drafts:
        if draft.owner is None or draft.owner in owners:
            continue
        meant = nearest(draft.owner, owners)
        cure = f"write {meant}, or add them to owners.yaml" if meant else "add them to owners.yaml"
        what = f"{draft.label}: owner '{draft.owner}' is not in owners.yaml"
        problems.append(Problem(document.at((*draft.path, "owner")), what, cure))
    return problems


def owner_names(document: YamlDocument) -> list[str] | None:
    """Return every owner's name that can be read; None when the file as a whole cannot be."""
    if not document.readable:
        return None
    return [entry["name"] for _, entry in _owner_entries(document) if isinstance(entry.get("name"), str)]


def repeated_owner_problems(document: YamlDocument) -> list[Problem]:
    """Return a problem for every name and sign-in name that stands twice: each must lead to one owner."""
    first: dict[tuple[str, str], KeyPath] = {}
    problems = []
    for kind, path, value in _owner_identities(document):
        earlier = first.setdefault((kind, value.lower()), path)
        if earlier != path:
            label = block_label(path[:2], document)
            what = f"{label}: the {kind} '{value}' stands in line {document.line(earlier)} too"
            problems.append(Problem(document.at(path), what, "remove one of the two"))
    return problems


def size_problems(drafts: Iterable[Draft], caps: Caps, document: YamlDocument, environment: str) -> list[Problem]:
    """Return a problem for every store that wants more of something than one store may have."""
    return [
        problem for draft in drafts for kind in _SUMS for problem in _over_cap(draft, kind, caps, document, environment)
    ]


def database_problems(drafts: Iterable[Draft], caps: Caps, document: YamlDocument) -> list[Problem]:
    """Return a problem for every size of a database that the store does not have."""
    if caps.database_server is None:
        return []
    what = f"would do nothing: the stores' databases are on {caps.database_server}"
    return [
        Problem(document.at((*draft.path, *key.split("."))), f"{draft.label}: {key} {what}", "remove it")
        for draft in drafts
        for key in draft.sizes
        if key.startswith("database.")
    ]


def next_cell(cells: Iterable[str]) -> str | None:
    """Return the first cell with room, given the cell of every store; None when all 99 are full."""
    count = Counter(cells)
    numbers = (f"{number:02d}" for number in range(int(naming.FIRST_CELL), 100))
    return next((cell for cell in numbers if count[cell] < STORES_PER_CELL), None)


def _over_cap(draft: Draft, kind: str, caps: Caps, document: YamlDocument, environment: str) -> list[Problem]:
    cap = caps.of(kind)
    cure = f"lower it, or raise {_SETTINGS[kind]} in Pulumi.{environment}.yaml"
    shown = format_cpu_millis if kind == "cpu" else format_bytes
    limit = f"the {shown(cap)} {'CPU ' if kind == 'cpu' else ''}cap"

    def problem(key: SizeKey, what: str) -> Problem:
        return Problem(document.at((*draft.path, *key.split("."))), f"{draft.label}: {what} is over {limit}", cure)

    given = [key for key in _SUMS[kind] if key in draft.sizes]
    alone = [problem(key, f"{key} {_written(draft, key, document)}") for key in given if draft.sizes[key] > cap]
    sizes = {**caps.defaults, **draft.sizes}
    # A store that is to go takes no more than it has, and nobody should be kept from removing it.
    if alone or not sizes or (draft.deleted and not given):
        return alone
    web_pods = caps.web_pods(draft.wp_content)
    parts = [(key, sizes[key], web_pods if key.startswith("web.") else 1) for key in _SUMS[kind] if key in sizes]
    beside = caps.beside.get(kind, 0) + web_pods * caps.per_web_pod.get(kind, 0)
    total = sum(size * pods for _, size, pods in parts) + beside
    if not parts or total <= cap:
        return []
    terms = " + ".join(f"{pods} x {key} {shown(size)}" for key, size, pods in parts).replace("1 x ", "")
    if beside:
        terms += f" + {shown(beside)} for scheduled tasks, backups and certificates"
    if kind != "storage" and web_pods > 1:
        terms += f", as an update runs {_NUMBERS.get(web_pods, web_pods)} web pods for a while"
    what = f"{kind} {shown(total)} ({terms})"
    if given:
        return [problem(given[-1], what)]
    what = f"{draft.label}: {what}, by the sizes of values/values-{environment}.yaml, is over {limit}"
    cure = f"lower them there or in the block, or raise {_SETTINGS[kind]} in Pulumi.{environment}.yaml"
    return [Problem(document.at(draft.path), what, cure)]


def _written(draft: Draft, key: SizeKey, document: YamlDocument) -> str:
    return document.written((*draft.path, *key.split("."))) or ""


def _draft(index: int, block: Mapping[str, object], document: YamlDocument) -> Draft:
    def text(key: str) -> str | None:
        value = block.get(key)
        return value if isinstance(value, str) and value else None

    return Draft(
        index=index,
        label=block_label(("stores", index), document),
        id=text("id"),
        name=text("name"),
        owner=text("owner"),
        # A number that should be in quotes still names the cell.
        cell=document.written(("stores", index, "cell")) or None,
        sizes=sizes_of(block),
        domains=_domains(block.get("domains")),
        deleted=block.get("state") == "deleted",
        wp_content=text("wpContent"),
    )


def _domains(written: object) -> list[tuple[int, str]]:
    entries = enumerate(written) if isinstance(written, tuple) else ()
    return [(index, entry.strip().rstrip(".").lower()) for index, entry in entries if isinstance(entry, str)]


def _owner_entries(document: YamlDocument) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield every entry of owners.yaml that is a mapping, with its place."""
    data = document.data
    owners = data.get("owners") if isinstance(data, Mapping) else None
    for index, entry in enumerate(owners if isinstance(owners, tuple) else ()):
        if isinstance(entry, Mapping):
            yield ("owners", index), entry


def _owner_identities(document: YamlDocument) -> Iterator[tuple[str, KeyPath, str]]:
    """Yield every text that must lead to one owner: its kind, its place, and the text."""
    for path, entry in _owner_entries(document):
        sign_in = entry.get("signIn")
        values = [("name", (*path, "name"), entry.get("name"))] + [
            ("sign-in name", (*path, "signIn", position), value)
            for position, value in enumerate(sign_in if isinstance(sign_in, tuple) else ())
        ]
        yield from ((kind, place, value) for kind, place, value in values if isinstance(value, str))
