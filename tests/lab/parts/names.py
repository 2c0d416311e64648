"""Two real name servers (BIND 9): the primary of client.example at oob, which takes signed updates, and a secondary at probe2."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Any

from tests.lab.house import ADDRESS, House

ZONE, NAME = "client.example", "www.client.example"
KEY, READER = "failover", "reader"
PRIMARY_AT, SECONDARY_AT = "oob", "probe2"

OPTIONS = """options {{
    directory "{folder}"; pid-file none; session-keyfile none; listen-on {{ {address}; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; min-refresh-time 1; min-retry-time 1; notify-delay 0;
}};
controls {{ }};
"""
PRIMARY = """include "{folder}/failover.key";
include "{folder}/reader.key";
zone "client.example" {{
    type primary; file "zone"; allow-transfer {{ any; }}; also-notify {{ {secondary}; }};
    update-policy {{
        grant failover name www.client.example A AAAA;
        grant failover name _vartovyi-epoch.www.client.example TXT;
    }};
}};
"""
SECONDARY = """zone "client.example" {{ type secondary; file "copy"; primaries {{ {primary}; }}; }};
"""
RECORDS = """$TTL 60
@ IN SOA ns1 hostmaster 1 1 1 3600 60
@ IN NS ns1
ns1 IN A {primary}
www IN A {prim}
"""


class Names:
    """Both servers, running."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.folder = house.folder / "named"
        self._running: dict[str, Any] = {}
        for place in (PRIMARY_AT, SECONDARY_AT):
            (self.folder / place).mkdir(parents=True)
        own = self.folder / PRIMARY_AT
        self.secrets = {name: base64.b64encode(secrets.token_bytes(32)).decode() for name in (KEY, READER)}
        for name, secret in self.secrets.items():
            # As tsig-keygen prints it.
            (own / f"{name}.key").write_text(
                f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'
            )
        (own / "zone").write_text(RECORDS.format(primary=ADDRESS[PRIMARY_AT], prim=ADDRESS["prim"]))
        (self.folder / "secret").write_text(self.secrets[KEY] + "\n")
        self._conf(PRIMARY_AT, PRIMARY)
        self._conf(SECONDARY_AT, SECONDARY)
        for place in (PRIMARY_AT, SECONDARY_AT):
            self.start(place)
        self.wait_for(SECONDARY_AT, ADDRESS["prim"])

    def _conf(self, place: str, zones: str) -> None:
        values = {"folder": self.folder / place, "address": ADDRESS[place]}
        others = {"primary": ADDRESS[PRIMARY_AT], "secondary": ADDRESS[SECONDARY_AT]}
        text = (OPTIONS + zones).format(**values, **others)
        (self.folder / place / "named.conf").write_text(text)

    def start(self, place: str) -> None:
        words = ["named", "-g", "-n", "1", "-c", str(self.folder / place / "named.conf")]
        self._running[place] = self._house.popen(place, words, log=f"named-{place}")
        ends_s = time.monotonic() + 60
        while self.answer(place) == "":
            assert self._running[place].poll() is None, f"named of {place} ended"
            assert time.monotonic() < ends_s, f"named of {place} does not answer"
            time.sleep(0.1)

    def stop(self, place: str) -> None:
        self._running[place].terminate()
        self._running[place].wait(30)

    def options(self, **changes: Any) -> dict[str, Any]:
        """Of the step traffic.dns."""
        whole = {
            "zone": ZONE,
            "name": NAME,
            "old": ADDRESS["prim"],
            "new": ADDRESS["back"],
            "server": ADDRESS[PRIMARY_AT],
            "servers": [ADDRESS[PRIMARY_AT], ADDRESS[SECONDARY_AT]],
            "key_name": KEY,
            "key_file": str(self.folder / "secret"),
        }
        return {**whole, **changes}

    # faults

    def cut_off_secondary(self) -> None:
        """No news from the primary: it goes on answering what it has (D2)."""
        self._house.nft(
            SECONDARY_AT,
            "table inet stale { chain in {",
            "type filter hook input priority 0;",
            f"ip saddr {ADDRESS[PRIMARY_AT]} drop",
            "}",
            "}",
        )

    def heal_secondary(self) -> None:
        self._house.nft(SECONDARY_AT, "delete table inet stale")

    def change_by_hand(self, value: str) -> None:
        """Somebody changes the record (D1), with the same right."""
        lines = f"key hmac-sha256:{KEY} {self.secrets[KEY]}\nserver {ADDRESS[PRIMARY_AT]}\nzone {ZONE}\n"
        lines += f"update delete {NAME} A\nupdate add {NAME} 60 A {value}\nsend\n"
        self._house.exec("coll", ["nsupdate"], input=lines)

    # asking

    def answer(self, place: str, name: str = NAME, kind: str = "A") -> str:
        """What that server answers, as ``dig +short`` prints it; "" = nothing."""
        words = ["dig", "+short", "+time=1", "+tries=1", f"@{ADDRESS[place]}", name, kind]
        done = self._house.exec("coll", words, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def wait_for(self, place: str, value: str) -> None:
        ends_s = time.monotonic() + 60
        while self.answer(place) != value:
            assert time.monotonic() < ends_s, f"{place} answers {self.answer(place)}, not {value}"
            time.sleep(0.2)
