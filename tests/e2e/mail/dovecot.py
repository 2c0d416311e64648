"""A real IMAP server for tests: Debian's Dovecot as an instance of its own, on loopback, in a folder of its own."""

from __future__ import annotations

import datetime as dt
import grp
import imaplib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.tools.ports import free_port

PASSWORD = "imap-secret-4711"

CONFIG = """
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols = imap
listen = 127.0.0.1
{ssl}
disable_plaintext_auth = no
default_login_user = {login}
default_internal_user = {internal}
default_internal_group = {group}
first_valid_uid = 0
mail_location = maildir:{dir}/home/%u
mail_max_userip_connections = 50
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/home/%u
}}
"""


TLS = """ssl = yes
ssl_cert = <{dir}/server.crt
ssl_key = <{dir}/server.key
"""


def certificate(folder: Path, name: str) -> None:
    """``ca.crt``, and ``server.crt`` with ``server.key`` for this name, signed by it."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    since = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)

    def built(subject: str, of: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")]))
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        )
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.crt").write_bytes(built("Test CA", ca_key, is_ca=True))
    (folder / "server.crt").write_bytes(built(name, key, is_ca=False))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


class Dovecot:
    """Started by ``start``, gone with ``stop``; what it holds goes with it."""

    def __init__(self, tls_name: str = "") -> None:
        """``tls_name``: it speaks TLS on ``tls_port`` and STARTTLS on ``port``, with a certificate for this name."""
        self.tls_name = tls_name
        self.folder = Path(tempfile.mkdtemp(prefix="vt-dovecot-"))
        self.folder.chmod(0o755)  # its log-in process runs as another user
        self.port, self.tls_port = free_port(), 0
        if tls_name:
            self.tls_port = free_port()
            certificate(self.folder, tls_name)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        is_root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid()).pw_name
        values = {
            "dir": self.folder,
            "port": self.port,
            "tls_port": self.tls_port,
            "ssl": TLS.format(dir=self.folder) if self.tls_name else "ssl = no",
            "password": PASSWORD,
            "login": "dovenull" if is_root else me,
            "internal": "dovecot" if is_root else me,
            "group": "dovecot" if is_root else grp.getgrgid(os.getegid()).gr_name,
            "uid": os.geteuid(),
            "gid": os.getegid(),
        }
        homes = self.folder / "home"
        homes.mkdir(exist_ok=True)
        if is_root:  # Dovecot opens no mailbox as root
            owner = pwd.getpwnam("dovecot")
            os.chown(homes, owner.pw_uid, owner.pw_gid)
            values |= {"uid": owner.pw_uid, "gid": owner.pw_gid}
        config = self.folder / "dovecot.conf"
        config.write_text(CONFIG.format(**values), encoding="utf-8")
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        program = shutil.which("dovecot", path=path)
        assert program, "dovecot is not installed"
        self.process = subprocess.Popen(
            [program, "-F", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("wb"),
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                imaplib.IMAP4("127.0.0.1", self.port, timeout=5).logout()
                return
            except (OSError, imaplib.IMAP4.error):
                time.sleep(0.1)
        said = [
            (self.folder / name).read_text() for name in ("stderr", "log") if (self.folder / name).exists()
        ]
        raise AssertionError(f"dovecot does not answer: {said}")

    def halt(self) -> None:
        """Stop serving; the letters stay."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, folder: str = "INBOX", user: str = "desk") -> imaplib.IMAP4:
        imap = imaplib.IMAP4("127.0.0.1", self.port, timeout=10)
        imap.login(user, PASSWORD)
        imap.select(folder)
        return imap

    def deliver(self, *letters: bytes, user: str = "desk") -> None:
        """Lay letters into the mailbox, as a mail server would."""
        imap = self.client(user=user)
        for raw in letters:
            word, said = imap.append("INBOX", "", imaplib.Time2Internaldate(time.time()), raw)
            assert word == "OK", said
        imap.logout()

    def flags(self, folder: str = "INBOX") -> list[bytes]:
        """Flags of each letter."""
        imap = self.client(folder)
        _, found = imap.uid("FETCH", "1:*", "(FLAGS)")
        imap.logout()
        return [line for line in found if isinstance(line, bytes)]

    def password_file(self) -> Path:
        file = self.folder / "password"
        file.write_text(PASSWORD + "\n", encoding="utf-8")
        return file
