"""What one value of the manifest may look like: every check says what is wrong with it and what to write instead.

A check returns its value or raises `bad(...)`: the text begins with the value itself, because `manifest_problems` puts
the key in front of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from components import naming
from stacks import quantities

BAD_VALUE: Final = "bad_value"

MAX_TITLE_LENGTH: Final = 100
MAX_EMAIL_LENGTH: Final = 100  # WordPress keeps it in a column of 100 characters
MAX_OWNER_LENGTH: Final = 63  # an owner's name is the value of a Kubernetes label
MAX_SIGN_IN_LENGTH: Final = 254
MAX_DOMAINS: Final = 10
MAX_DOMAIN_LENGTH: Final = 240  # the Secret of its certificate is named after it, with room for a prefix

_PLAIN_WORD: Final = "a-z, 0-9 and single hyphens, beginning with a letter"
# What WordPress' own is_email() takes: anything else would be refused by the shop after everything else was built.
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
)
_IMAGE_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])")
_SIGN_IN: Final = re.compile(r"[^\s\x00-\x1f\x7f]+")
# Invisible marks that let a title show as something else in a table or an audit entry.
_HIDDEN: Final = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def bad(what: str, cure: str) -> PydanticCustomError:
    """Return the error that `manifest_problems` turns into a Problem with exactly these words."""
    return PydanticCustomError(BAD_VALUE, "{what}; {cure}", {"what": what, "cure": cure})


def check_name(name: str) -> str:
    """Return `name` if it can be a store's name."""
    faults = _word_faults(name, naming.MAX_NAME_LENGTH)
    if name in naming.RESERVED_NAMES:
        faults.append("is a reserved name")
    if faults:
        suggestion = _suggested_name(name)
        cure = (
            f"write {suggestion}" if suggestion else f"use {_PLAIN_WORD}, at most {naming.MAX_NAME_LENGTH} characters"
        )
        if name in naming.RESERVED_NAMES:
            cure = f"use another one, e.g. {name}-shop"
        raise bad(f"'{name}' {' and '.join(faults)}", cure)
    return name


def check_store_id(store_id: str) -> str:
    """Return `store_id` if it has the form of one: a name, a hyphen and five characters."""
    parts = naming.ID_PATTERN.fullmatch(store_id)
    if parts is None:
        form = f"<name>-<{naming.ID_SUFFIX_LENGTH} characters>, e.g. tea-house-x7k2m"
        raise bad(f"'{store_id}' is not of the form {form}", "restore it, or remove the line and run `stores fmt`")
    if len(store_id) > naming.MAX_ID_LENGTH:
        raise bad(f"'{store_id}' has {len(store_id)} characters, at most {naming.MAX_ID_LENGTH}", "restore it from git")
    return store_id


def check_cell(cell: str) -> str:
    """Return `cell` if it is two digits, 01 to 99."""
    if not naming.CELL_PATTERN.fullmatch(cell):
        raise bad(f"'{cell}' is not two digits from 01 to 99", "restore it, or remove the line and run `stores fmt`")
    return cell


def check_owner_name(name: str) -> str:
    """Return `name` if it can be an owner's name."""
    if faults := _word_faults(name, MAX_OWNER_LENGTH):
        raise bad(f"'{name}' {' and '.join(faults)}", f"use {_PLAIN_WORD}, at most {MAX_OWNER_LENGTH} characters")
    return name


def check_title(title: str) -> str:
    """Return `title` if a shop can show it."""
    if not title.strip():
        raise bad("is empty", "write the name that customers see")
    if len(title) > MAX_TITLE_LENGTH:
        raise bad(f"has {len(title)} characters, at most {MAX_TITLE_LENGTH}", "shorten it")
    hidden = [mark for mark in title if mark in _HIDDEN or unicodedata.category(mark) in {"Cc", "Cs"}]
    if hidden:
        raise bad(f"has the invisible character U+{ord(hidden[0]):04X}", "remove it")
    if title != title.strip():
        raise bad(f"'{title}' begins or ends with a space", "remove the space")
    return title


def check_email(email: str) -> str:
    """Return `email` if WordPress takes it as an address."""
    if len(email) > MAX_EMAIL_LENGTH:
        raise bad(f"has {len(email)} characters, at most {MAX_EMAIL_LENGTH}", "use a shorter address")
    if not _EMAIL.fullmatch(email) or ".." in email:
        raise bad(f"'{email}' is not an e-mail address", "write it like alice@example.com")
    return email


def check_sign_in(name: str) -> str:
    """Return `name` if it can be the name that somebody signs in with."""
    if len(name) > MAX_SIGN_IN_LENGTH or not _SIGN_IN.fullmatch(name):
        raise bad(f"'{name}' is not a sign-in name", f"write 1 to {MAX_SIGN_IN_LENGTH} characters without spaces")
    return name


def check_image_tag(tag: str) -> str:
    """Return `tag` if it names one version of an image."""
    if tag == "latest":
        raise bad("'latest' names another image every week", "write a version, e.g. 7.1.4-php8.4-apache")
    if not _IMAGE_TAG.fullmatch(tag):
        raise bad(f"'{tag}' is not an image tag", "write a version, e.g. 7.1.4-php8.4-apache")
    return tag


def check_domain(domain: str) -> str:
    """Return `domain` if it can be a shop's own host: at least two labels, in the one form that everybody compares."""
    cure = "write the host alone, e.g. shop.example.com"
    if "://" in domain or "/" in domain:
        raise bad(f"'{domain}' is an address, not a host", cure)
    if re.search(r":\d*$", domain):
        raise bad(f"'{domain}' has a port", cure)
    if domain.startswith("*."):
        raise bad(f"'{domain}' is a wildcard", "name each host of the shop")
    if plain := _plain_host(domain):
        raise bad(f"'{domain}' is not in its plain form", f"write {plain}")
    if len(domain) > MAX_DOMAIN_LENGTH:
        raise bad(f"'{domain}' has {len(domain)} characters, at most {MAX_DOMAIN_LENGTH}", "use a shorter one")
    if re.fullmatch(r"[0-9.]+", domain):
        raise bad(f"'{domain}' is an IP address, which nobody gives a certificate for", cure)
    if not _DOMAIN.fullmatch(domain):
        raise bad(f"'{domain}' is not a host name", cure)
    return domain


def check_https(https: bool) -> bool:  # noqa: FBT001 - pydantic calls it
    """Return `https` if it is true: no block takes away the https of its environment."""
    if not https:
        raise bad("is false", "remove the line: the environment decides, and no block takes its https away")
    return https


def _plain_host(domain: str) -> str | None:
    """Return how DNS knows a host that is written in another way (upper case, letters like é, a dot at the end)."""
    plain = domain.strip().removesuffix(".").lower()
    try:
        plain = plain.encode("idna").decode()
    except UnicodeError:
        return None
    return plain if plain != domain and _DOMAIN.fullmatch(plain) else None


def cpu(minimum: str, why: str) -> Callable[[object], str]:
    """Return a reader of CPU amounts that gives them back in their one canonical form."""
    return _amount(quantities.parse_cpu_millis, quantities.format_cpu_millis, minimum, why)


def size(minimum: str, why: str) -> Callable[[object], str]:
    """Return a reader of amounts of memory or storage that gives them back in their one canonical form."""
    return _amount(quantities.parse_bytes, quantities.format_bytes, minimum, why)


def _amount(
    parse: Callable[[str], int], shown: Callable[[int], str], minimum: str, why: str
) -> Callable[[object], str]:
    """Return a reader that also takes YAML's own numbers, as Kubernetes does (`cpu: 2`)."""

    def read(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise bad(f"{_kind(value)} is not an amount", f"write one, e.g. {minimum}")
        try:
            amount = parse(str(value))
        except quantities.QuantityError as error:
            raise bad(error.what, error.cure) from error
        if amount < parse(minimum):
            raise bad(f"{value} is below {minimum}, {why}", f"raise it to {minimum} or more")
        return shown(amount)

    return read


def _kind(value: object) -> str:
    return {bool: str(value).lower(), dict: "a mapping", tuple: "a list"}.get(type(value), str(value))


def _word_faults(word: str, max_length: int) -> list[str]:
    """Return everything that keeps `word` from being a DNS label as we want it; each reads after the word."""
    if not word:
        return ["is empty"]
    faults = []
    if len(word) > max_length:
        faults.append(f"has {len(word)} characters, at most {max_length}")
    if strange := sorted(set(re.sub(r"[a-z0-9-]", "", word))):
        faults.append(f"has {', '.join(repr(character) for character in strange)}")
    if "--" in word:
        faults.append("has two hyphens in a row")
    if not re.match(r"[a-z]", word) and not strange:
        faults.append("does not begin with a letter")
    if word.endswith("-"):
        faults.append("ends with a hyphen")
    return faults


def _suggested_name(name: str) -> str | None:
    """Return a good name that is near `name`, or None."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789")[: naming.MAX_NAME_LENGTH].rstrip("-")
    fits = naming.NAME_PATTERN.fullmatch(words) and words not in naming.RESERVED_NAMES
    return words if fits else None


def _text_schema(pattern: str | None = None, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {}), **more})


def _amount_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number"}], "examples": [example]}
    )


CPU_SCHEMA: Final = _amount_schema(quantities.CPU_PATTERN, "500m")
SIZE_SCHEMA: Final = _amount_schema(quantities.BYTES_PATTERN, "768Mi")
_NAME_SCHEMA: Final = "[a-z](-?[a-z0-9])*"

StoreId = Annotated[
    str,
    AfterValidator(check_store_id),
    _text_schema(f"^{_NAME_SCHEMA}-[a-z0-9]{{{naming.ID_SUFFIX_LENGTH}}}$", maxLength=naming.MAX_ID_LENGTH),
]
StoreName = Annotated[
    str,
    AfterValidator(check_name),
    _text_schema(
        f"^{_NAME_SCHEMA}$", maxLength=naming.MAX_NAME_LENGTH, **{"not": {"enum": sorted(naming.RESERVED_NAMES)}}
    ),
]
OwnerName = Annotated[
    str, AfterValidator(check_owner_name), _text_schema(f"^{_NAME_SCHEMA}$", maxLength=MAX_OWNER_LENGTH)
]
Cell = Annotated[str, AfterValidator(check_cell), _text_schema("^(?!00)[0-9]{2}$")]
Title = Annotated[str, AfterValidator(check_title), _text_schema(minLength=1, maxLength=MAX_TITLE_LENGTH)]
Email = Annotated[str, AfterValidator(check_email), _text_schema("^[^@ ]+@[^@ ]+$", maxLength=MAX_EMAIL_LENGTH)]
_DOMAIN_SCHEMA: Final = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$"
Domain = Annotated[str, AfterValidator(check_domain), _text_schema(_DOMAIN_SCHEMA, maxLength=MAX_DOMAIN_LENGTH)]
Https = Annotated[bool, Strict(), AfterValidator(check_https), WithJsonSchema({"const": True})]
SignIn = Annotated[str, AfterValidator(check_sign_in), _text_schema(minLength=1, maxLength=MAX_SIGN_IN_LENGTH)]
ImageTag = Annotated[
    str,
    AfterValidator(check_image_tag),
    _text_schema("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", **{"not": {"const": "latest"}}),
]
Count = Annotated[int, Strict()]

WebCpu = Annotated[str, BeforeValidator(cpu("50m", "with which it would not start in time")), CPU_SCHEMA]
WebMemory = Annotated[str, BeforeValidator(size("256Mi", "with which PHP serves no shop")), SIZE_SCHEMA]
DatabaseCpu = Annotated[str, BeforeValidator(cpu("50m", "with which it would not start in time")), CPU_SCHEMA]
DatabaseMemory = Annotated[str, BeforeValidator(size("192Mi", "with which MariaDB does not start")), SIZE_SCHEMA]
DatabaseStorage = Annotated[str, BeforeValidator(size("512Mi", "which an empty database nearly fills")), SIZE_SCHEMA]
UploadsStorage = Annotated[str, BeforeValidator(size("128Mi", "which the first photos fill")), SIZE_SCHEMA]
