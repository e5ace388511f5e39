"""TLS of the server's own: a certificate and its key, read again when their files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from server.settings import Settings

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """The certificate (with its chain) and the key in two PEM files. OSError: they are unreadable, or do not match."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = (certificate, key)
        self._stamp = self._stat()
        self.context = _context(self._paths)
        """For new connections; those that are open keep theirs."""

    def reload_if_changed(self) -> None:
        """Takes new files into use. Files that do not fit, as when only one is new yet, leave the last ones in use."""
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            _context(self._paths)  # a failed load would leave the context with half of it
            self.context.load_cert_chain(*self._paths)
            log.info("TLS certificate reloaded")
        except OSError as error:  # ssl.SSLError is one
            log.warning("TLS certificate unusable, keeping the last one: %s", error)

    def _stat(self) -> _Stamp:
        """Changes whenever the files do; empty while one is missing."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def certificate_of(settings: Settings) -> Certificate | None:
    """That of the settings; None: the server speaks plain HTTP. OSError: it is unusable."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key)


def _context(paths: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(*paths)
    return context
