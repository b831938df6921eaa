"""A Redis as a deployment runs it: TLS alone, with the users that `oceanus redis-users` makes."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from management import parts, redis_users
from oceanus import settings
from oceanus.errors import SpoolError
from oceanus.settings import RedisSettings
from oceanus.spool import Client, Spool, connect
from tests.conftest import absent, wait_for_port

_PEM = serialization.Encoding.PEM


class GuardedRedis:
    """A Redis that asks for a name, a password and TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, parts.free_port()
        redis_users.make(folder)
        make_certificates(folder)
        command = parts.redis_command(parts.find_redis(), folder, 0)
        tls = {"port": self.port, "auth-clients": "no", "ca-cert-file": folder / "ca.pem"}
        tls |= {"cert-file": folder / "server.pem", "key-file": folder / "server.key"}
        words = [word for name, value in tls.items() for word in (f"--tls-{name}", str(value))]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command.words, "--aclfile", str(folder / "users.acl"), *words],
                env=command.environ,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for_port(self.port, self.process)
        except AssertionError:
            if "TLS" in (folder / "log").read_text(encoding="utf-8", errors="replace"):
                absent("a Redis that was built with TLS (apt-get install redis-server)")
            raise

    def environ(self, user: str) -> dict[str, str]:
        """Return what a process of this user is given."""
        return {
            "REDIS_PD_SERVICE_HOST": "127.0.0.1",
            "REDIS_PD_SERVICE_PORT": str(self.port),
            "REDIS_USER": user,
            "REDIS_PASSWORD": (self.folder / user).read_text(encoding="utf-8"),
            "REDIS_TLS": "1",
            "REDIS_CA": str(self.folder / "ca.pem"),
        }

    def settings(self, name: str, **changes: object) -> RedisSettings:
        """Return the same, read, some of it changed."""
        return replace(settings.read(RedisSettings, self.environ(name)), **changes)  # type: ignore[arg-type] # by name

    def client(self, user: str) -> Client:
        """Return a client of this user."""
        return connect(self.settings(user))

    def denied(self) -> list[str]:
        """Return what was refused to the users since the last time, and who asked.

        Without what redis-py asks for at each connection, and does without: older ones know no such commands.
        """
        admin = self.client("admin")
        found = [{_text(name): _text(value) for name, value in _pairs(entry)} for entry in admin.acl_log()]
        admin.acl_log_reset()
        return [f"{one['username']}: {one['object']}" for one in found if not one["object"].startswith("client")]

    def answers(self, name: str, **changes: object) -> str:
        """Return why Redis is of no use to somebody with these settings; nothing if it is."""
        try:
            Spool(connect(self.settings(name, **changes), 1.0)).ping()
        except SpoolError as exc:
            return f"{type(exc).__name__}: {exc}"
        return ""


def make_certificates(folder: Path) -> None:
    """Write a CA (ca.pem) and a certificate of its for this machine (server.pem, server.key)."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    own = _certificate("authority", authority, authority, is_authority=True)
    signed = _certificate("localhost", server, authority, is_authority=False)
    (folder / "ca.pem").write_bytes(own.public_bytes(_PEM))
    (folder / "server.pem").write_bytes(signed.public_bytes(_PEM))
    plain = serialization.NoEncryption()
    (folder / "server.key").write_bytes(server.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain))


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(named("authority"), named(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if is_authority:
        can = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), False)
        can |= {"key_agreement": False, "key_cert_sign": True, "crl_sign": True}
        usage = x509.KeyUsage(**can, encipher_only=False, decipher_only=False)
        builder = builder.add_extension(usage, critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(own, critical=False)
    else:
        places = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(places), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(issuer, critical=False)
    return builder.sign(authority, hashes.SHA256())


def _pairs(entry: object) -> list[tuple[object, object]]:
    return list(entry.items()) if isinstance(entry, dict) else []


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
