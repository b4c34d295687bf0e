"""A file on the hub, read as if it were here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import DamagedFileError, NetworkError
from launcher.store.connection import Connection, RemoteFile, default_client
from launcher.store.hub import RangeReader, open_remote
from launcher.store.refusals import Asked
from launcher.units import MIB
from tests.fakes.hub import FakeFile, FakeRepo, Hub, loopback_hub
from tests.store.build import PATH, REPO, Naps, config, gguf

CONTENT = gguf(5 * MIB + 17)


@pytest.fixture(scope="module")
def large() -> Iterator[Hub]:
    with loopback_hub({REPO: {PATH: CONTENT}}) as hub:
        yield hub


steps = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, len(CONTENT) + 100)),
        st.tuples(st.just("read"), st.integers(0, 200_000)),
        st.tuples(st.just("skip"), st.integers(0, 1_500_000)),
        st.tuples(st.just("back"), st.integers(0, 100)),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps=steps)
def test_it_reads_what_a_local_file_would(large: Hub, steps: list[tuple[str, int]]) -> None:
    here = io.BytesIO(CONTENT)
    with open_remote(REPO, PATH, config=config(large, Path("/nowhere"))) as there:
        for what, n in steps:
            if what == "seek":
                assert there.seek(n) == here.seek(n)
            elif what == "skip":
                assert there.seek(n, io.SEEK_CUR) == here.seek(n, io.SEEK_CUR)
            elif what == "back":
                assert there.seek(-n, io.SEEK_END) == here.seek(-n, io.SEEK_END)
            else:
                assert there.read(n) == here.read(n)
            assert there.tell() == here.tell()


def test_a_header_costs_few_requests_and_little_more_than_itself(tmp_path: Path) -> None:
    """A GPT OSS header has 13 MB in about a million small values, in front of 12 GB."""
    path = tmp_path / PATH
    with path.open("wb") as stream:
        stream.write(gguf(13_000_000))
        stream.truncate(12_109_566_624)
    with loopback_hub({REPO: FakeRepo(REPO, {PATH: FakeFile(path, known_sha256="ab" * 32)})}) as hub:
        with open_remote(REPO, PATH, config=config(hub, tmp_path)) as reader:
            got = b"".join(reader.read(13_000) for _ in range(1000))
        assert got == gguf(13_000_000)
        assert len(hub.requests.of("cdn")) == 4
        assert hub.requests.body_bytes("cdn") == 15 * MIB


def test_what_was_read_is_not_asked_for_again(large: Hub) -> None:
    large.requests.clear()
    with open_remote(REPO, PATH, config=config(large, Path("/nowhere"))) as reader:
        for _ in range(3):
            reader.seek(0)
            assert reader.read(3 * MIB) == CONTENT[: 3 * MIB]
    assert len(large.requests.of("cdn")) == 2


def test_a_server_that_ignores_ranges_is_read_from_its_beginning(hub: Hub) -> None:
    hub.file(REPO, PATH).faults.ignore_range = True
    with open_remote(REPO, PATH, config=config(hub, Path("/nowhere"))) as reader:
        assert reader.read() == gguf(600_000)
    hub.file(REPO, PATH).content = CONTENT
    hub.file(REPO, PATH).known_sha256 = None
    with open_remote(REPO, PATH, config=config(hub, Path("/nowhere"))) as reader:
        reader.seek(4 * MIB)
        assert reader.read(100) == CONTENT[4 * MIB : 4 * MIB + 100]


def test_a_cut_connection_is_tried_again(hub: Hub) -> None:
    faults = hub.file(REPO, PATH).faults
    faults.cut_at, faults.cut_times = 1000, 1
    naps = Naps()
    with open_remote(REPO, PATH, config=config(hub, Path("/nowhere")), sleep=naps) as reader:
        assert reader.read() == gguf(600_000)
    assert naps.asked_s == [1.0]


def test_a_connection_that_keeps_breaking_is_given_up(hub: Hub) -> None:
    hub.file(REPO, PATH).faults.cut_at = 1000
    naps = Naps()
    with (
        open_remote(REPO, PATH, config=config(hub, Path("/nowhere")), sleep=naps) as reader,
        pytest.raises(NetworkError, match="broke off"),
    ):
        reader.read()
    assert naps.asked_s == [1.0, 2.0]


def test_an_error_page_is_not_read_as_a_header(hub: Hub) -> None:
    hub.file(REPO, PATH).faults.error_page = b"Entry not found"
    with (
        open_remote(REPO, PATH, config=config(hub, Path("/nowhere"))) as reader,
        pytest.raises(NetworkError, match="15 bytes instead of 600000"),
    ):
        reader.read(4)


def test_a_header_without_an_end_is_given_up(large: Hub) -> None:
    """Bounds what a hostile length in a header can make us fetch."""
    with default_client() as client:
        connection = Connection(config(large, Path("/nowhere")), client, Naps())
        remote = connection.look_up(Asked(endpoint=large.url, repo=REPO, path=PATH))
        assert isinstance(remote, RemoteFile)
        reader = RangeReader(connection, remote, limit_bytes=3 * MIB)
        assert reader.read(3 * MIB) == CONTENT[: 3 * MIB]
        with pytest.raises(DamagedFileError, match="goes on past"):
            reader.read(1)


def test_a_missing_file_is_told_before_anything_is_read(hub: Hub) -> None:
    with (
        pytest.raises(NetworkError, match=r"has no file gone\.gguf"),
        open_remote(REPO, "gone.gguf", config=config(hub, Path("/nowhere"))),
    ):
        pass


def test_no_seek_before_the_beginning(hub: Hub) -> None:
    with open_remote(REPO, PATH, config=config(hub, Path("/nowhere"))) as reader, pytest.raises(ValueError):
        reader.seek(-1)


def test_offline(hub: Hub) -> None:
    with (
        pytest.raises(NetworkError, match="HF_HUB_OFFLINE"),
        open_remote(REPO, PATH, config=config(hub, Path("/nowhere"), offline=True)),
    ):
        pass
    assert len(hub.requests) == 0
