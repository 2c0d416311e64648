"""The ready page: bounded, keeps connections, serves nothing else."""

from __future__ import annotations

import socket

import pytest

from agent.page import JSON, TEXT, Page, ask_status, file_listener, tcp_listener


@pytest.fixture
def page(tmp_path):
    listener = tcp_listener("127.0.0.1", 0)
    made = Page([listener, file_listener(tmp_path)], max_connections=3)
    made.port = listener.getsockname()[1]
    made.show("/metrics", b"vartovyi_x 1\n", TEXT)
    yield made
    made.close()


def connect(page):
    return socket.create_connection(("127.0.0.1", page.port), timeout=30)


def ask(sock, request):
    sock.sendall(request)
    with sock.makefile("rb") as stream:
        status = stream.readline().decode().strip()
        headers = dict(line.decode().lower().strip().split(": ") for line in iter(stream.readline, b"\r\n"))
        is_head = request.startswith(b"HEAD")
        return status, headers, b"" if is_head else stream.read(int(headers["content-length"]))


def test_the_page_that_was_put_up_is_served_over_one_kept_connection(page):
    with connect(page) as sock:
        for _ in range(3):
            status, headers, body = ask(sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (status, body) == ("HTTP/1.1 200 OK", b"vartovyi_x 1\n")
            assert headers["content-type"].startswith("text/plain; version=0.0.4")
        page.show("/metrics", b"new\n", TEXT)
        assert ask(sock, b"GET /metrics?a=b HTTP/1.1\r\n\r\n")[2] == b"new\n"


def test_a_page_is_read_from_its_first_scrape_on_and_no_other_page_with_it(page):
    page.show("/status", b"{}", JSON)
    assert not page.is_read("/metrics")
    with connect(page) as sock:
        ask(sock, b"GET /elsewhere HTTP/1.1\r\n\r\n")
        assert not page.is_read("/metrics")
        ask(sock, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert page.is_read("/metrics") and not page.is_read("/status")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"nonsense\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
    ],
)
def test_other_requests_get_a_clear_answer(page, request_, status):
    with connect(page) as sock:
        assert ask(sock, request_)[0] == status


def test_a_request_that_never_ends_is_cut_off(page):
    with connect(page) as sock, pytest.raises(OSError):
        for _ in range(100):
            sock.sendall(b"x" * 1024)
        if not sock.recv(1):
            raise ConnectionError("closed")


def test_connections_are_bounded_the_idlest_gives_way(page):
    idle = [connect(page) for _ in range(3)]
    for sock in idle:
        assert ask(sock, b"GET /metrics HTTP/1.1\r\n\r\n")[0].endswith("OK")
    with connect(page) as sock:
        assert ask(sock, b"GET /metrics HTTP/1.1\r\n\r\n")[0].endswith("OK")
        assert idle[0].recv(1) == b""
    for one in idle:
        one.close()


def test_a_page_larger_than_the_socket_buffer_arrives_whole(page):
    page.show("/metrics", b"y" * 3_000_000, TEXT)
    with connect(page) as sock:
        assert len(ask(sock, b"GET /metrics HTTP/1.1\r\n\r\n")[2]) == 3_000_000


def test_status_is_asked_over_a_socket_file_of_the_owner(page, tmp_path):
    page.show("/status", b'{"a": 1}', JSON)
    assert ask_status(tmp_path) == b'{"a": 1}'
    assert (tmp_path / "status.sock").stat().st_mode & 0o777 == 0o600


def test_where_no_agent_works_there_is_no_status(tmp_path):
    with pytest.raises(OSError):
        ask_status(tmp_path)


def test_a_socket_file_left_by_a_killed_agent_is_replaced(tmp_path):
    first = file_listener(tmp_path)
    first.close()
    made = Page([file_listener(tmp_path)])
    made.show("/status", b"{}", JSON)
    assert ask_status(tmp_path) == b"{}"
    made.close()


def test_a_state_folder_with_a_very_long_name_has_a_status_socket_too(tmp_path):
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    made = Page([file_listener(folder)])
    made.show("/status", b"{}", JSON)
    assert ask_status(folder) == b"{}"
    made.close()
