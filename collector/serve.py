"""`vartovyi-collector serve`: uvicorn in the main thread, signals, systemd, and an orderly end.

SIGTERM and SIGINT: stop taking, finish what is in hand, flush, exit 0. A second one cuts connections. SIGHUP: read
contracts and providers again; faults are logged and the old ones stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from collector.app import Collector
from collector.joined_writes import JoinedWrites
from collector.settings import CollectorSettings
from collector.tls import Certificate, certificate
from config.clock import Clock, SystemClock
from config.loader import ConfigError
from config.log import fields
from config.notify import notify, watchdog_interval_s

log = logging.getLogger(__name__)

BACKLOG = 4096
HEADERS_MAX = 32 * 1024

GC_THRESHOLDS = (5_000, 20, 50)

SWITCH_S = 0.0005
"""How long the busy event loop may keep the interpreter's lock while writer and tick wait for it. Python's 5 ms is asked
for at every row of a query: a quiet tick then took 200 ms beside a flood of heartbeats."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would re-raise the signal and die of it after a clean end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: CollectorSettings, clock: Clock | None = None) -> int:
    """Run until told to stop; the exit status."""
    clock = clock or SystemClock()
    sys.setswitchinterval(SWITCH_S)
    collector = Collector(settings, clock)
    try:
        cert = certificate(settings.listen, settings.state_dir, clock.now_ms(), settings.public_url)
        with _listening(settings) as sock, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(collector, cert, sock))
    finally:
        notify("STOPPING=1")
        collector.stop()
    log.info("The collector stopped in order.")
    return 0


@contextlib.contextmanager
def _listening(settings: CollectorSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.listen.address else socket.AF_INET
    with socket.create_server(
        (settings.listen.address, settings.listen.port), family=family, backlog=BACKLOG
    ) as sock:
        sock.setblocking(False)
        yield sock


async def _serve(collector: Collector, cert: Certificate | None, sock: socket.socket) -> None:
    settings = collector.settings
    config = uvicorn.Config(
        collector.asgi(),  # pyright: ignore[reportArgumentType]
        loop="none",
        http=JoinedWrites,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=round(settings.listen.keep_alive_s),
        timeout_graceful_shutdown=round(settings.stop_s),
        limit_concurrency=settings.listen.max_connections,
        h11_max_incomplete_event_size=HEADERS_MAX,
        ssl_certfile=str(cert.cert) if cert else None,
        ssl_keyfile=str(cert.key) if cert else None,
    )
    server = _Server(config)
    _on_signals(server, collector)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        _started(collector, cert, sock)
    await serving


def _started(collector: Collector, cert: Certificate | None, sock: socket.socket) -> None:
    """Listening: begin to decide, and say so to whoever waits."""
    _settle_memory()
    collector.start()
    host, port = sock.getsockname()[:2]
    url = f"{'https' if cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    told = fields(url=url, hosts=len(collector.cache), store=collector.store.dialect)
    log.info("The collector listens. %s", told)
    if cert:
        log.info("Agents may pin this certificate. %s", fields(pin=cert.pin, certificate=cert.cert))
    (collector.settings.state_dir / "address").write_text(url + "\n", encoding="utf-8")
    _feed_watchdog(collector)
    notify(f"READY=1\nSTATUS=listens on {url}")


def _settle_memory() -> None:
    """Take the fleet and the program out of the garbage collector's rounds.

    Decoding a report makes containers, containers start a collection, and a full one walked every host and every
    library: 100 ms in which nobody was answered. What is loaded by now stays until the end.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _feed_watchdog(collector: Collector) -> None:
    """The watchdog is fed by the tick alone: a collector that serves pages and decides nothing is not alive."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    fed_ms = 0

    def feed() -> None:
        nonlocal fed_ms
        now = collector.clock.mono_ms()
        if now - fed_ms >= min(interval_s, 1.0) * 1000:
            fed_ms = now
            notify("WATCHDOG=1")

    collector.on_turn = feed


def _on_signals(server: uvicorn.Server, collector: Collector) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def stop(name: str) -> None:
        if server.should_exit:
            log.warning("Told to stop again: open connections are cut. %s", fields(signal=name))
            server.force_exit = True
            return
        log.info("Stopping: what is in hand is finished first. %s", fields(signal=name))
        notify("STOPPING=1")
        collector.intake_app.is_stopping = True
        collector.asks_app.stop()
        collector.bell.close()
        server.should_exit = True

    def reload() -> None:
        task = loop.create_task(_reload(collector))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGTERM, stop, "SIGTERM")
    loop.add_signal_handler(signal.SIGINT, stop, "SIGINT")
    loop.add_signal_handler(signal.SIGHUP, reload)


async def _reload(collector: Collector) -> None:
    notify(f"RELOADING=1\nMONOTONIC_USEC={collector.clock.mono_ms() * 1000}")
    try:
        applied = await asyncio.to_thread(collector.reload_contracts)
    except ConfigError as error:
        for fault in error.faults:
            log.error(
                "Contracts or providers have a fault; the old ones stay in force. %s", fields(fault=fault)
            )
    except Exception:  # a boundary: a reload that fails leaves a running collector as it was
        log.exception("Contracts and providers could not be read again; the old ones stay in force.")
    else:
        told = fields(
            changed=len(applied.contracts), retired=len(applied.retired), people=len(applied.people)
        )
        log.info("The contracts were read again. %s", told)
    notify("READY=1")
