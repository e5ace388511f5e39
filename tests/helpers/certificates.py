"""Certificates for tests, signed by themselves, made with the openssl command."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, *, name: str = "server", days: int = 2) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1, as PEM files; the certificate is its own CA."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", str(days)]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, *subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
