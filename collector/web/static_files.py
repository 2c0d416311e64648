"""The sheet, the script and the icon: read once, addressed by their content's hash, cached for a year."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

FOLDER = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@dataclasses.dataclass(frozen=True)
class StaticFile:
    name: str
    body: bytes
    kind: str
    tag: str


def load(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """All static files by name."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in KINDS:
            body = path.read_bytes()
            files[path.name] = StaticFile(
                path.name, body, KINDS[path.suffix], hashlib.sha256(body).hexdigest()[:12]
            )
    return files


@get("/static/{name:str}", include_in_schema=False, opt={"exclude_from_auth": True})
async def static_file(request: Request, name: FromPath[str]) -> Response[bytes]:
    file: StaticFile | None = request.app.state.static.get(name)
    if file is None:
        raise NotFoundException(detail="no such file")
    # An address without the hash still works, but is asked for again each time.
    cache = FOREVER if request.query_params.get("v") == file.tag else "no-cache"
    return Response(
        file.body, media_type=file.kind, headers={"Cache-Control": cache, "ETag": f'"{file.tag}"'}
    )
