"""What an fsspec URL says, as plain data.

::

    s3://BUCKET/PREFIX?endpoint_url=http://HOST:PORT
    sftp://HOST/DIR, ftp://, smb://, webdav://, gs://, abfs://, ...
    fsspec+SCHEME://...    the same for a scheme that also has a connector of its own

Options: ``range_bytes`` and ``parallel`` for reading large objects, ``endpoint_url`` and ``region`` for S3; anything
else is handed to the file system as it is, except secrets, which come from the machine that resolves.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from attrs import frozen

from fedproxy.errors import ConfigError
from fedproxy.store.credentials import Credentials, listed_credentials, remember

SECRETS = frozenset({"key", "secret", "token", "password", "passwd", "account_key", "sas_token", "connection_string"})


@frozen
class FsspecConfig:
    """One folder of one file system."""

    scheme: str
    netloc: str
    path: str
    range_bytes: int = 8 * 1024 * 1024
    """Larger objects are read in ranges of this size."""
    parallel: int = 8
    options: tuple[tuple[str, str], ...] = ()

    @property
    def protocol(self) -> str:
        """fsspec's name of the file system."""
        return self.scheme.removeprefix("fsspec+")

    @property
    def place(self) -> str:
        """The folder as an fsspec URL."""
        return f"{self.protocol}://{self.netloc}{self.path}"

    @property
    def url(self) -> str:
        """The canonical URL, without secrets."""
        query = dict(self.options)
        query |= {name: str(getattr(self, name)) for name in ("range_bytes", "parallel") if _differs(self, name)}
        text = urlencode(sorted(query.items()), safe="/:,")
        return f"{self.scheme}://{self.netloc}{self.path}" + (f"?{text}" if text else "")


def _differs(config: FsspecConfig, name: str) -> bool:
    return bool(getattr(config, name) != getattr(FsspecConfig("", "", ""), name))


def parse_url(url: str) -> FsspecConfig:
    """The configuration in ``url``. A password in it is taken out and kept for this process only.

    Raises:
        ConfigError: a secret among the options, or a number that is none.
    """
    split = urlsplit(url)
    userinfo, _, netloc = split.netloc.rpartition("@")
    options = dict(parse_qsl(split.query))
    if found := SECRETS.intersection(options):
        name = sorted(found)[0]
        raise ConfigError(f"a store URL holds no secrets: {name}", hint="set them on the machine that resolves")
    try:
        numbers = {name: int(options.pop(name)) for name in ("range_bytes", "parallel") if name in options}
    except ValueError as exc:
        raise ConfigError("range_bytes and parallel are numbers") from exc
    if min(numbers.values(), default=1024) < 1 or numbers.get("range_bytes", 1024) < 1024:
        raise ConfigError("range_bytes is at least 1024 and parallel at least 1")
    if userinfo:
        username, _, password = userinfo.partition(":")
        remember(netloc, Credentials(unquote(username) or None, unquote(password) or None))
    return FsspecConfig(split.scheme, netloc, split.path.rstrip("/"), options=tuple(sorted(options.items())), **numbers)


def options_for(config: FsspecConfig) -> dict[str, Any]:
    """Storage options for fsspec, with what this machine knows of credentials."""
    options: dict[str, Any] = dict(config.options)
    credentials = listed_credentials(config.netloc)
    if config.protocol in ("s3", "s3a"):
        return _s3_options(options, credentials)
    if credentials.username is not None:
        options["username"] = credentials.username
    if credentials.password is not None:
        options["password"] = credentials.password
    if config.protocol not in ("file", "local", "memory", "gs", "gcs", "az", "abfs"):
        host, _, port = config.netloc.partition(":")
        options["host"] = host
        if port:
            options["port"] = int(port)
    return options


def _s3_options(options: dict[str, Any], credentials: Credentials) -> dict[str, Any]:
    """For s3fs: no stale listings, and a dead server is told within seconds."""
    client = {"region_name": region} if (region := options.pop("region", None)) else {}
    made: dict[str, Any] = {
        "use_listings_cache": False,
        "client_kwargs": client,
        "config_kwargs": {"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 2}},
    }
    if credentials.username:
        made |= {"key": credentials.username, "secret": credentials.password}
    return made | options
