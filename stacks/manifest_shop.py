"""What the values of a shop may look like: where it sells, in which language, with which plugins and themes.

Checks as those of `manifest_fields`. That a code is well formed and exists is checked here, before anything is built;
the shop itself is asked again when it is set up.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar

from pydantic import AfterValidator, WithJsonSchema

from stacks.manifest_fields import bad

# ISO 3166-1, and Kosovo, which WooCommerce has as well.
_COUNTRY_CODES: Final = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
COUNTRIES: Final = frozenset(_COUNTRY_CODES.split())
# ISO 4217.
_CURRENCY_CODES: Final = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW
"""
CURRENCIES: Final = frozenset(_CURRENCY_CODES.split())
MAX_PACKAGES: Final = 20

_COUNTRY: Final = "[A-Z]{2}(:[A-Z0-9-]{1,8})?"
_CURRENCY: Final = "[A-Z]{3}"
_LOCALE: Final = "[a-z]{2,3}(_[A-Z]{2})?(_[a-z0-9]+)?"
_TIMEZONE: Final = "[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}"
_SLUG: Final = "[a-z0-9][a-z0-9_-]{0,62}"
_VERSION: Final = "[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}"
_SHA256: Final = "[0-9a-f]{64}"
_URL: Final = "https://[^\\s/@]+/\\S+"


def check_country(country: str) -> str:
    """Return `country` if it is a country, or one of its states: `DE`, `US:CA`."""
    if not re.fullmatch(_COUNTRY, country):
        cure = f"write {country.upper()}" if re.fullmatch(_COUNTRY, country.upper()) else "write it like DE or US:CA"
        raise bad(f"'{country}' is not a country's code", cure)
    if country[:2] not in COUNTRIES:
        raise bad(f"'{country[:2]}' is no country", "write two letters of ISO 3166, such as DE, GB or US")
    return country


def check_currency(currency: str) -> str:
    """Return `currency` if there is such a currency."""
    if currency not in CURRENCIES:
        cure = f"write {currency.upper()}" if currency.upper() in CURRENCIES else "write three letters, such as EUR"
        raise bad(f"'{currency}' is not a currency", cure)
    return currency


def check_locale(locale: str) -> str:
    """Return `locale` if it has the form of WordPress' locales."""
    if not re.fullmatch(_LOCALE, locale):
        meant = locale.replace("-", "_")
        cure = f"write {meant}" if re.fullmatch(_LOCALE, meant) else "write it like de_DE"
        raise bad(f"'{locale}' is not a locale of WordPress", cure)
    return locale


def check_timezone(timezone: str) -> str:
    """Return `timezone` if this machine, or at least its form, knows it."""
    known = zoneinfo.available_timezones()
    if not re.fullmatch(_TIMEZONE, timezone) or (known and timezone not in known):
        raise bad(f"'{timezone}' is not a time zone", "write one like Europe/Berlin")
    return timezone


def check_slug(slug: str) -> str:
    """Return `slug` if it can be the folder of a plugin or theme."""
    if not re.fullmatch(_SLUG, slug):
        raise bad(f"'{slug}' is not the folder of a plugin or theme", "write a-z, 0-9, - and _, as in its address")
    return slug


def check_version(version: str) -> str:
    """Return `version` if it names one version."""
    if version in {"latest", "trunk"}:
        raise bad(f"'{version}' is another one every week", "write a version, e.g. 1.4.2")
    if not re.fullmatch(_VERSION, version):
        raise bad(f"'{version}' is not a version", "write one, e.g. 1.4.2")
    return version


def check_sha256(digest: str) -> str:
    """Return `digest` if it can be a SHA-256."""
    if not re.fullmatch(_SHA256, digest):
        raise bad(f"'{digest}' is not 64 hexadecimal digits", "compute it: sha256sum <the archive>")
    return digest


def check_url(url: str) -> str:
    """Return `url` if a store may reach it: the network policies let stores out by https alone."""
    if not re.fullmatch(_URL, url) or len(url) > 1000:
        cure = "write https://, a host and a path, without a password"
        raise bad(f"'{url}' is not an address that a store can fetch from", cure)
    return url


class _Named(Protocol):
    @property
    def slug(self) -> str: ...


T = TypeVar("T", bound=Sequence[_Named])


def _listed_once(reserved: str) -> AfterValidator:
    def check(packages: T) -> T:
        slugs = [package.slug for package in packages]
        if len(slugs) > MAX_PACKAGES:
            raise bad(f"has {len(slugs)} entries, at most {MAX_PACKAGES}", "bake them into an image of your own")
        twice = next((slug for slug in slugs if slugs.count(slug) > 1), None)
        if twice is not None:
            raise bad(f"has {twice} twice", "remove one of them")
        if reserved in slugs:
            raise bad(f"has {reserved}, which every store has", "remove it; its version is that of the values")
        return packages

    return AfterValidator(check)


def _text(pattern: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", **more})


Country = Annotated[str, AfterValidator(check_country), _text(_COUNTRY, examples=["DE", "US:CA"])]
Currency = Annotated[
    str, AfterValidator(check_currency), WithJsonSchema({"type": "string", "enum": sorted(CURRENCIES)})
]
Locale = Annotated[str, AfterValidator(check_locale), _text(_LOCALE, examples=["de_DE"])]
Timezone = Annotated[str, AfterValidator(check_timezone), _text(_TIMEZONE, examples=["Europe/Berlin"])]
Slug = Annotated[str, AfterValidator(check_slug), _text(_SLUG)]
Version = Annotated[str, AfterValidator(check_version), _text(_VERSION, **{"not": {"enum": ["latest", "trunk"]}})]
Sha256 = Annotated[str, AfterValidator(check_sha256), _text(_SHA256)]
Url = Annotated[str, AfterValidator(check_url), _text(_URL, maxLength=1000)]
PLUGINS_ONCE: Final = _listed_once("woocommerce")
THEMES_ONCE: Final = _listed_once("storefront")
