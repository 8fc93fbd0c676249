"""The shape of stores.yaml and owners.yaml: closed, frozen models, and the source of the editors' JSON schemas.

A `StoreBlock` is what people write, so everything that the tool writes or derives is optional in it; a `Store` is what
the rest of the platform works with, complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from stacks import manifest_fields as fields
from stacks import manifest_shop as shop
from stacks.quantities import QuantityError, parse_bytes, parse_cpu_millis

State = Literal["active", "deleted"]
WpContent = Literal["immutable", "persistent"]
SizeKey = Literal["web.cpu", "web.memory", "database.cpu", "database.memory", "database.storage", "uploads.storage"]
Sizes = Mapping[SizeKey, int]
"""Amounts by key, in thousandths of a CPU or in bytes; a key that is not there is not known."""

_PARSERS: Final[Mapping[SizeKey, Callable[[str], int]]] = {
    "web.cpu": parse_cpu_millis,
    "web.memory": parse_bytes,
    "database.cpu": parse_cpu_millis,
    "database.memory": parse_bytes,
    "database.storage": parse_bytes,
    "uploads.storage": parse_bytes,
}


class Closed(BaseModel):
    """A mapping that takes the keys below and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Web(Closed):
    """Limits of the WordPress container; what is not given comes from the environment's values."""

    cpu: fields.WebCpu | None = Field(None, description="CPU limit of the WordPress container, e.g. 500m.")
    memory: fields.WebMemory | None = Field(None, description="Memory limit of the WordPress container, e.g. 768Mi.")


class Database(Closed):
    """Limits and volume of the MariaDB container; what is not given comes from the environment's values."""

    cpu: fields.DatabaseCpu | None = Field(None, description="CPU limit of the MariaDB container, e.g. 400m.")
    memory: fields.DatabaseMemory | None = Field(None, description="Memory limit of the MariaDB container, e.g. 768Mi.")
    storage: fields.DatabaseStorage | None = Field(
        None, description="Size of the database's volume, e.g. 1Gi. It never shrinks."
    )


class Uploads(Closed):
    """Volume of the uploaded files; what is not given comes from the environment's values."""

    storage: fields.UploadsStorage | None = Field(
        None, description="Size of the uploads' volume, e.g. 1Gi. It never shrinks."
    )


class Image(Closed):
    """Version of the WordPress image."""

    tag: fields.ImageTag = Field(description="Tag of the WordPress image, e.g. 7.1.4-php8.4-apache.")


class Package(Closed):
    """A plugin or theme of the merchant's own, pinned: what has another checksum is not installed."""

    slug: shop.Slug = Field(description="Its folder, and the one folder of its archive, e.g. my-plugin.")
    version: shop.Version = Field(description="Its version, as its own header tells it, e.g. 1.4.2.")
    url: shop.Url = Field(description="Where its zip archive is fetched from, once per store; https only.")
    sha256: shop.Sha256 = Field(description="SHA-256 of that archive, as `sha256sum` prints it.")


class StoreBlock(Closed):
    """One store, as people write it."""

    id: fields.StoreId | None = Field(None, description="Written once by `stores add` or `stores fmt`; never changed.")
    name: fields.StoreName = Field(description="Short name; becomes the first part of the id. May be changed later.")
    owner: fields.OwnerName = Field(description="Name of an owner in owners.yaml; limits count per owner.")
    cell: fields.Cell | None = Field(None, description="Written once by the tool; never changed by hand.")
    title: fields.Title | None = Field(None, description="Name that customers see; default: made from the name.")
    admin_email: fields.Email | None = Field(
        None, alias="adminEmail", description="Address of the shop's administrator; default: the owner's contact."
    )
    state: State = Field("active", description="`deleted` marks the store for removal (`stores rm ID` writes it).")
    web: Web | None = Field(None, description="Size of WordPress.")
    database: Database | None = Field(None, description="Size of MariaDB.")
    uploads: Uploads | None = Field(None, description="Size of the uploads' volume.")
    image: Image | None = Field(None, description="Version of WordPress.")
    domains: tuple[fields.Domain, ...] | None = Field(
        None,
        max_length=fields.MAX_DOMAINS,
        description="The shop's own domains, e.g. shop.example.com; the first becomes its address.",
    )
    https: fields.Https | None = Field(
        None, description="`true` serves the shop over https where the environment's own scheme is http."
    )
    country: shop.Country | None = Field(
        None, description="Country that the shop sells from, and its state where WooCommerce has them: DE, US:CA."
    )
    currency: shop.Currency | None = Field(None, description="Currency of all prices, e.g. EUR.")
    locale: shop.Locale | None = Field(None, description="Language of the shop, as WordPress writes it, e.g. de_DE.")
    timezone: shop.Timezone | None = Field(None, description="Time zone of the shop, e.g. Europe/Berlin.")
    plugins: Annotated[tuple[Package, ...], shop.PLUGINS_ONCE] = Field(
        (), description="The merchant's own plugins; one that is taken off the list is deactivated."
    )
    themes: Annotated[tuple[Package, ...], shop.THEMES_ONCE] = Field(
        (), description="The merchant's own themes; the first is the shop's."
    )
    wp_content: WpContent | None = Field(
        None,
        alias="wpContent",
        description="`persistent`: the admin page may install plugins; changes then stop the shop for a moment.",
    )


class StoresFile(Closed):
    """The stores of one environment: stacks/<environment>/stores.yaml."""

    version: Literal[1] = Field(description="Version of this file's format.")
    stores: tuple[StoreBlock, ...] = Field(description="One block per store; `[]` when there is none.")


class OwnerLimits(Closed):
    """Limits of one owner that differ from the platform's."""

    stores: fields.Count | None = Field(None, ge=0, le=1000, description="Stores at the same time.")
    creates_per_hour: fields.Count | None = Field(
        None, alias="createsPerHour", ge=0, le=1000, description="Creations in any 60 minutes."
    )


class Owner(Closed):
    """Who a store belongs to."""

    name: fields.OwnerName = Field(description="Short name that stores.yaml refers to.")
    contact: fields.Email = Field(description="Address for notices; the default of a store's `adminEmail`.")
    limits: OwnerLimits = Field(default_factory=OwnerLimits, description="Own limits, where they differ.")
    sign_in: tuple[fields.SignIn, ...] = Field(
        (), alias="signIn", description="Names that sign in as this owner, e.g. alice@corp."
    )


class OwnersFile(Closed):
    """The owners of one environment: stacks/<environment>/owners.yaml."""

    version: Literal[1] = Field(description="Version of this file's format.")
    owners: tuple[Owner, ...] = Field(description="One entry per owner.")


@dataclass(frozen=True)
class Store:
    """One store, complete: what the program builds and what diffs compare."""

    id: str
    name: str
    owner: str
    cell: str
    title: str
    admin_email: str
    state: State = "active"
    web: Web | None = None
    database: Database | None = None
    uploads: Uploads | None = None
    image: Image | None = None
    domains: tuple[str, ...] = ()
    https: bool = False
    country: str | None = None
    currency: str | None = None
    locale: str | None = None
    timezone: str | None = None
    plugins: tuple[Package, ...] = ()
    themes: tuple[Package, ...] = ()
    wp_content: WpContent | None = None

    @classmethod
    def of(cls, block: StoreBlock, *, contact: str) -> Store:
        """Return the complete store of a block that has its id and cell."""
        assert block.id is not None  # noqa: S101 - the rules ran before
        assert block.cell is not None  # noqa: S101
        return cls(
            id=block.id,
            name=block.name,
            owner=block.owner,
            cell=block.cell,
            title=block.title or default_title(block.name),
            admin_email=block.admin_email or contact,
            state=block.state,
            web=block.web,
            database=block.database,
            uploads=block.uploads,
            image=block.image,
            domains=block.domains or (),
            https=block.https or False,
            country=block.country,
            currency=block.currency,
            locale=block.locale,
            timezone=block.timezone,
            plugins=block.plugins,
            themes=block.themes,
            wp_content=block.wp_content,
        )

    @property
    def deleted(self) -> bool:
        """Whether the block is a tombstone."""
        return self.state == "deleted"

    def sizes(self) -> Sizes:
        """Return the sizes that the block itself names."""
        return sizes_of(self.spec())

    def spec(self) -> dict[str, Any]:
        """Return the store as plain data with the manifest's keys, the same for every way of writing the same thing.

        What is not set is not in it, so that a later version's new key does not make every store look changed.
        """
        plain: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "owner": self.owner,
            "cell": self.cell,
            "title": self.title,
            "adminEmail": self.admin_email,
            "state": self.state,
        }
        parts = {"web": self.web, "database": self.database, "uploads": self.uploads, "image": self.image}
        dumped = {key: part.model_dump(exclude_none=True) for key, part in parts.items() if part is not None}
        shown: dict[str, Any] = {
            "country": self.country,
            "currency": self.currency,
            "locale": self.locale,
            "timezone": self.timezone,
            "plugins": [package.model_dump() for package in self.plugins],
            "themes": [package.model_dump() for package in self.themes],
            "wpContent": self.wp_content,
            "domains": list(self.domains),
            "https": self.https,
        }
        return plain | {key: part for key, part in (dumped | shown).items() if part}


def default_title(name: str) -> str:
    """Return a title for a store that names none: `tea-house` becomes `Tea House`."""
    return " ".join(word.capitalize() for word in name.split("-"))


def sizes_of(block: Mapping[str, object]) -> Sizes:
    """Return the sizes that a block names and that can be read as amounts, whatever else is wrong with it."""
    found: dict[SizeKey, int] = {}
    for key, parse in _PARSERS.items():
        section, _, name = key.partition(".")
        part = block.get(section)
        value = part.get(name) if isinstance(part, Mapping) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            with suppress(QuantityError):
                found[key] = parse(str(value))
    return found
