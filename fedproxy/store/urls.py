"""Store URLs: a store's whole configuration in one line, without secrets.

Options stand in the query. Some belong to every store (``cache_bytes``, ``compress``, ``signed``, ``ttl_s``), the
others to the connector.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from attrs import evolve, field, frozen

from fedproxy.errors import ConfigError

STORE_OPTIONS = ("cache_bytes", "compress", "signed", "ttl_s")
DEFAULT_CACHE_BYTES = 64 * 1024 * 1024


@frozen
class StoreOptions:
    """What a store does with any connector."""

    cache_bytes: int = DEFAULT_CACHE_BYTES
    """Frames kept in this process. Not used where reading is as cheap (memory, shared memory)."""
    compress: str = ""
    """auto (sample, compare with the link), lz4 (whatever shrinks), none; empty: auto for remote connectors."""
    signed: bool = False
    """Sign with the site key of ``FEDPROXY_SITE_KEY`` and accept nothing else."""
    ttl_s: float | None = None
    """How long objects live unless told otherwise."""


@frozen
class StoreUrl:
    """A URL taken apart. ``authority`` is everything between ``//`` and the path, with secrets if there were any."""

    scheme: str
    authority: str
    path: str
    options: dict[str, str] = field(factory=dict)

    @classmethod
    def parse(cls, url: str) -> StoreUrl:
        """Take ``url`` apart.

        Raises:
            ConfigError: it has no scheme.
        """
        split = urlsplit(url)
        if not split.scheme:
            raise ConfigError(f"not a store URL: {url!r}", hint="for example shm://HOST/NAME, file:///DIR, redis://HOST")
        return cls(split.scheme, split.netloc, split.path, dict(parse_qsl(split.query, keep_blank_values=True)))

    @property
    def host(self) -> str:
        """The authority without user and password."""
        return self.authority.rpartition("@")[2]

    def public(self) -> str:
        """The canonical URL: without user and password, options sorted."""
        query = f"?{urlencode(sorted(self.options.items()), quote_via=quote, safe='/:,')}" if self.options else ""
        return f"{self.scheme}://{self.host}{self.path}{query}"

    def connector_url(self) -> str:
        """The URL, with its secrets, that the connector gets: the store's own options are taken out."""
        left = {name: value for name, value in self.options.items() if name not in STORE_OPTIONS}
        query = f"?{urlencode(left, safe='/:,')}" if left else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"

    def store_options(self) -> StoreOptions:
        """The options that belong to the store.

        Raises:
            ConfigError: one of them makes no sense.
        """
        compress = self.options.get("compress", "")
        if compress not in ("", "auto", "lz4", "none"):
            raise ConfigError(f"option compress={compress!r} is not one of auto, lz4, none")
        ttl_s = self.number("ttl_s", 0)
        return StoreOptions(
            cache_bytes=int(self.number("cache_bytes", DEFAULT_CACHE_BYTES)),
            compress=compress,
            signed=self.options.get("signed", "0") == "1",
            ttl_s=ttl_s or None,
        )

    def with_store_options(self, options: StoreOptions) -> StoreUrl:
        """This URL with ``options`` that differ from the defaults."""
        named = {
            "cache_bytes": "" if options.cache_bytes == DEFAULT_CACHE_BYTES else str(options.cache_bytes),
            "compress": options.compress,
            "signed": "1" if options.signed else "",
            "ttl_s": "" if options.ttl_s is None else f"{options.ttl_s:g}",
        }
        return evolve(self, options=self.options | {name: value for name, value in named.items() if value})

    def only_options(self, *names: str) -> None:
        """Check the options.

        Raises:
            ConfigError: there is one that is not in ``names``.
        """
        unknown = sorted(set(self.options) - set(names) - set(STORE_OPTIONS))
        if unknown:
            known = ", ".join(sorted(names)) or "none"
            raise ConfigError(f"{self.scheme}:// stores have no option {unknown[0]!r}", hint=f"they have: {known}")

    def number(self, name: str, default: float) -> float:
        """The option ``name`` as a number of at least 0.

        Raises:
            ConfigError: it is not such a number.
        """
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not value >= 0:
            raise ConfigError(f"option {name}={text!r} of {self.scheme}:// is not a number of at least 0")
        return value
