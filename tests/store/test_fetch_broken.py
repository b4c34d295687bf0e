"""A fetch that meets trouble: nothing is lost, nothing wrong is kept, and a person learns what to do."""

from __future__ import annotations

import errno
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import DamagedFileError, DoesNotFitError, LauncherError, NetworkError
from launcher.store.download import Outside
from launcher.store.hub import fetch
from launcher.store.local import find_cached
from launcher.store.part_file import DiskFile
from tests.fakes.hub import FakeFile, FakeRepo, Hub, loopback_hub
from tests.store.build import (
    PATH,
    REPO,
    SPLIT,
    Naps,
    Remembered,
    blobs_in,
    child_fetch,
    config,
    gguf,
    model_file,
    parts_in,
    wait_until,
)
from tests.systems import POSIX

MB = 1_000_000
MIB = 1024**2


def ranges(hub: Hub) -> list[str | None]:
    return [seen.range for seen in hub.requests.of("cdn", "GET")]


def keep_some(hub: Hub, cache_dir: Path, n_bytes: int) -> None:
    """Leave a partial of `n_bytes`, as a run that gave up does."""
    faults = hub.file(REPO, PATH).faults
    faults.cut_at = n_bytes
    with pytest.raises(NetworkError):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Naps().outside)
    faults.cut_at = None
    hub.requests.clear()
    assert [part.stat().st_size for part in parts_in(cache_dir)] == [n_bytes]


def test_a_cut_connection_is_resumed_within_the_run(hub: Hub, cache_dir: Path) -> None:
    faults = hub.file(REPO, PATH).faults
    faults.cut_at, faults.cut_times = 250_000, 1
    naps, progress = Naps(), Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress, outside=naps.outside)
    assert local.first.read_bytes() == gguf(600_000)
    assert ranges(hub) == [None, "bytes=250000-"]
    assert hub.requests.body_bytes("cdn") == 600_000
    assert naps.asked_s == [1.0]
    assert (progress.done_bytes, progress.finished) == (600_000, 1)


def test_a_line_that_breaks_often_but_brings_bytes_is_not_given_up(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.cut_every = 50_000
    naps = Naps()
    local = fetch(model_file(hub), config=config(hub, cache_dir), outside=naps.outside)
    assert local.first.read_bytes() == gguf(600_000)
    assert naps.asked_s == [1.0] * 11
    assert hub.requests.body_bytes("cdn") == 600_000


def test_a_connection_that_is_cut_again_and_again_gives_up_and_says_what_is_kept(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.cut_at = 250_000
    naps, progress = Naps(), Remembered()
    file = model_file(hub)
    with pytest.raises(NetworkError, match=r"244 KiB of 586 KiB are kept") as raised:
        fetch(file, config=config(hub, cache_dir), progress=progress, outside=naps.outside)
    assert raised.value.hint == f"gpt-oss pull {file.name}"
    # The first try brought bytes, so the count began after it; waits double.
    assert naps.asked_s == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert progress.finished == 1
    assert find_cached(file, cache_dir) is None
    hub.file(REPO, PATH).faults.cut_at = None
    hub.requests.clear()
    again = Remembered()
    fetch(file, config=config(hub, cache_dir), progress=again)
    assert again.started == [(600_000, 250_000, file.name)]
    assert ranges(hub) == ["bytes=250000-"]
    assert hub.requests.body_bytes("cdn") == 350_000


@POSIX
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_killed_download_goes_on_where_it_stopped(cache_dir: Path, how: str) -> None:
    """huggingface_hub starts from zero after both: it deletes its partial on Ctrl-C and ignores it after a kill."""
    content = gguf(8 * MB)
    with loopback_hub({REPO: {PATH: content}}) as hub:
        hub.faults.bytes_per_s = 8 * MB
        file = model_file(hub)
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache_dir), "HOME": str(cache_dir)}
        with child_fetch(file, env) as child:
            wait_until(lambda: any(part.stat().st_size > 2 * MB for part in parts_in(cache_dir)))
            child.send_signal(getattr(signal, how))
            assert child.wait(10) == -getattr(signal, how)
        (part,) = parts_in(cache_dir)
        kept = part.stat().st_size
        assert 2 * MB < kept < len(content)
        assert part.read_bytes() == content[:kept]
        assert find_cached(file, cache_dir) is None
        hub.faults.bytes_per_s = None
        hub.requests.clear()
        progress = Remembered()
        local = fetch(file, config=config(hub, cache_dir), progress=progress)
        assert local.first.read_bytes() == content
        assert ranges(hub) == [f"bytes={kept}-"]
        assert hub.requests.body_bytes("cdn") == len(content) - kept
        assert progress.phases[0].startswith("checking the")


def test_ctrl_c_keeps_what_came(hub: Hub, cache_dir: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    progress = Remembered(at_bytes=200_000, then=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    (part,) = parts_in(cache_dir)
    kept = part.stat().st_size
    assert kept >= 200_000
    assert part.read_bytes() == gguf(600_000)[:kept]
    assert progress.finished == 1
    hub.requests.clear()
    fetch(model_file(hub), config=config(hub, cache_dir))
    assert hub.requests.body_bytes("cdn") == 600_000 - kept


def test_two_processes_fetch_one_file_once(cache_dir: Path) -> None:
    content = gguf(3 * MB)
    with loopback_hub({REPO: {PATH: content}}) as hub:
        hub.faults.bytes_per_s = 2 * MB
        file = model_file(hub)
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache_dir), "HOME": str(cache_dir)}
        with child_fetch(file, env) as child:
            wait_until(lambda: any(part.stat().st_size > 0 for part in parts_in(cache_dir)))
            progress = Remembered()
            local = fetch(file, config=config(hub, cache_dir), progress=progress)
            out, err = child.communicate(timeout=20)
        assert (child.returncode, err) == (0, "")
        assert out.strip() == str(local.first)
        assert local.first.read_bytes() == content
        assert hub.requests.body_bytes("cdn") == len(content)
        assert any("another process is downloading" in phase for phase in progress.phases)
        assert progress.done_bytes == len(content)


def test_a_wrong_hash_leaves_nothing_that_could_be_loaded(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.wrong_bytes = True
    file = model_file(hub)
    with pytest.raises(DamagedFileError, match="arrived damaged and was deleted"):
        fetch(file, config=config(hub, cache_dir))
    assert find_cached(file, cache_dir) is None
    assert not any(path.is_file() for path in cache_dir.glob("models--*/**/*"))
    hub.file(REPO, PATH).faults.wrong_bytes = False
    assert fetch(file, config=config(hub, cache_dir)).first.read_bytes() == gguf(600_000)


def test_a_partial_that_this_disk_damaged_is_found_out_and_only_that_comes_again(cache_dir: Path) -> None:
    """A power cut can leave a partial whose last pages are zeros."""
    content = gguf(9 * MIB)
    with loopback_hub({REPO: {PATH: content}}) as hub:
        keep_some(hub, cache_dir, 8 * MIB + 1000)
        with parts_in(cache_dir)[0].open("r+b") as part:
            part.seek(5 * MIB)
            part.write(bytes(1000))
        progress = Remembered()
        local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
        assert local.first.read_bytes() == content
        assert hub.requests.body_bytes("cdn") == 4 * MIB + MIB - 1000
        assert sorted(map(str, ranges(hub))) == [f"bytes={4 * MIB}-{8 * MIB - 1}", f"bytes={8 * MIB + 1000}-"]
        assert any("1 damaged piece" in phase for phase in progress.phases)
        assert progress.done_bytes == len(content)


def test_damage_done_to_what_came_without_checksums_costs_the_file_once_more(hub: Hub, cache_dir: Path) -> None:
    """An older version kept no journal: its partial is taken up, and only the whole file's hash can judge it."""
    keep_some(hub, cache_dir, 250_000)
    next(cache_dir.rglob("*.journal")).unlink()
    with parts_in(cache_dir)[0].open("r+b") as part:
        part.seek(200_000)
        part.write(bytes(1000))
    progress = Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert local.first.read_bytes() == gguf(600_000)
    assert ranges(hub) == ["bytes=250000-", None]
    assert any("all of it is fetched again" in phase for phase in progress.phases)
    assert progress.done_bytes == 600_000


@pytest.mark.parametrize("name", ["{}.incomplete", "{}.0a1b2c3d.incomplete", "{}.gpt-oss.part"])
def test_what_another_program_or_an_older_version_left_is_taken_up(hub: Hub, cache_dir: Path, name: str) -> None:
    """huggingface_hub leaves `.incomplete` behind when it is killed, and begins anew."""
    sha256 = hub.file(REPO, PATH).sha256
    left = cache_dir / "models--ggml-org--gpt-oss-20b-GGUF" / "blobs" / name.format(sha256)
    left.parent.mkdir(parents=True)
    left.write_bytes(gguf(600_000)[:300_000])
    progress = Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert local.first.read_bytes() == gguf(600_000)
    assert ranges(hub) == ["bytes=300000-"]
    assert progress.started[0][:2] == (600_000, 300_000)
    assert [path.name for path in left.parent.iterdir()] == [sha256]


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("page", [b"Entry not found", b"<!DOCTYPE html><title>Sign in to WiFi</title>" * 20])
def test_an_error_page_is_never_saved_as_a_model(hub: Hub, cache_dir: Path, page: bytes, *, with_length: bool) -> None:
    """The old URL of a renamed file was seen to answer with 15 bytes, which other launchers kept as a model."""
    faults = hub.file(REPO, PATH).faults
    faults.error_page, faults.with_length = page, with_length
    with pytest.raises(NetworkError, match="sent something else than") as raised:
        fetch(model_file(hub), config=config(hub, cache_dir))
    assert page[:15].decode() in raised.value.details[0]
    assert [path.stat().st_size for path in parts_in(cache_dir)] == [0]
    assert blobs_in(cache_dir) == []


def test_a_file_that_is_longer_than_listed_is_refused(hub: Hub, cache_dir: Path) -> None:
    faults = hub.file(REPO, PATH).faults
    faults.error_page, faults.with_length = gguf(700_000), False
    with pytest.raises(NetworkError, match="more than its 600000 bytes"):
        fetch(model_file(hub), config=config(hub, cache_dir))
    assert blobs_in(cache_dir) == []


@pytest.mark.parametrize(
    ("status", "code", "says", "hint"),
    [
        (401, "GatedRepo", "is gated", "hf auth login"),
        (401, "RepoNotFound", "knows no repository", "hf auth login"),
        (403, None, "does not let this login read", "hf auth login"),
        (404, "EntryNotFound", f"has no file {PATH}", "gpt-oss plan"),
        (404, "RepoNotFound", "knows no repository", "gpt-oss plan"),
    ],
)
def test_a_refusal_is_told_at_once(  # noqa: PLR0917 -- parametrised
    hub: Hub, cache_dir: Path, status: int, code: str | None, says: str, hint: str
) -> None:
    faults = hub.faults
    faults.status, faults.error_code = status, code
    naps = Naps()
    with pytest.raises(NetworkError, match=says) as raised:
        fetch(model_file(hub), config=config(hub, cache_dir), outside=naps.outside)
    assert (raised.value.status, raised.value.hint) == (status, hint)
    assert "\n" not in raised.value.message
    assert naps.asked_s == []
    assert not cache_dir.exists()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failing_hub_is_asked_again_as_late_as_it_says(hub: Hub, cache_dir: Path, status: int) -> None:
    faults = hub.file(REPO, PATH).faults
    faults.status, faults.times, faults.retry_after_s = status, 2, 7
    faults.routes = frozenset({"cdn"})
    naps, progress = Naps(), Remembered()
    fetch(model_file(hub), config=config(hub, cache_dir), progress=progress, outside=naps.outside)
    assert naps.asked_s == [7.0, 7.0]
    assert sum("trying again in 7.0 s" in phase for phase in progress.phases) == 2


def test_a_hub_that_asks_for_a_long_wait_is_not_waited_for(hub: Hub, cache_dir: Path) -> None:
    faults = hub.faults
    faults.status, faults.retry_after_s = 429, 3600
    naps = Naps()
    with pytest.raises(NetworkError, match=r"429.*try again in 1 h 0 min"):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=naps.outside)
    assert naps.asked_s == []


def test_a_hub_that_keeps_failing_is_given_up(hub: Hub, cache_dir: Path) -> None:
    hub.faults.status = 503
    naps = Naps()
    with pytest.raises(NetworkError, match="the hub is failing"):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=naps.outside)
    assert naps.asked_s == [1.0, 2.0]


def test_no_network_is_told_within_one_try(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: gguf(1000)}}) as hub:
        file = model_file(hub)
    naps = Naps()
    with pytest.raises(NetworkError, match="no connection to") as raised:
        fetch(file, config=config(hub, cache_dir), outside=naps.outside)
    assert hub.url in raised.value.message
    assert raised.value.hint == "gpt-oss chat --demo"
    assert naps.asked_s == []


def test_an_ignored_range_starts_over_cleanly(hub: Hub, cache_dir: Path) -> None:
    """Appending the whole file to what is here would give a file of the wrong hash, or worse without one."""
    keep_some(hub, cache_dir, 250_000)
    hub.file(REPO, PATH).faults.ignore_range = True
    progress = Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert local.first.read_bytes() == gguf(600_000)
    assert hub.requests.body_bytes("cdn") == 600_000
    assert progress.done_bytes == 600_000


def test_a_partial_of_replaced_content_is_not_resumed(hub: Hub, cache_dir: Path) -> None:
    """Repositories are rebuilt under fixed names: the first half of the old and the second of the new is neither."""
    keep_some(hub, cache_dir, 250_000)
    hub.repos[REPO].commit({PATH: FakeFile(gguf(600_000, seed=9))})
    local = fetch(model_file(hub), config=config(hub, cache_dir))
    assert local.first.read_bytes() == gguf(600_000, seed=9)
    assert ranges(hub) == [None]


def test_a_file_replaced_since_it_was_listed_is_not_taken_for_it(hub: Hub, cache_dir: Path) -> None:
    stale = replace(model_file(hub), revision=None)
    hub.repos[REPO].commit({PATH: FakeFile(gguf(600_000, seed=9))})
    with pytest.raises(NetworkError, match="has been replaced on the hub"):
        fetch(stale, config=config(hub, cache_dir))
    assert blobs_in(cache_dir) == []


def test_storage_that_holds_a_shorter_file_than_listed(hub: Hub, cache_dir: Path) -> None:
    """Its answer to the range is 416. What is here may be right all the same, and stays."""
    keep_some(hub, cache_dir, 250_000)
    hub.file(REPO, PATH).faults.served = gguf(1000)
    with pytest.raises(NetworkError, match=r"no byte of it from 250000 on \(416\)"):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Naps().outside)
    assert [(seen.range, seen.status) for seen in hub.requests.of("cdn")] == [("bytes=250000-", 416)]
    assert [part.stat().st_size for part in parts_in(cache_dir)] == [250_000]


def test_storage_that_ends_early_and_has_no_more_is_given_up(hub: Hub, cache_dir: Path) -> None:
    """Each start may bring bytes: the tries must not be counted anew for ever."""
    faults = hub.file(REPO, PATH).faults
    faults.served, faults.with_length = gguf(1000), False
    naps = Naps()
    with pytest.raises(NetworkError, match=r"no byte of it from 1000 on"):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=naps.outside)
    assert len(naps.asked_s) == 1
    assert blobs_in(cache_dir) == []


def test_storage_that_holds_a_longer_file_than_listed(hub: Hub, cache_dir: Path) -> None:
    keep_some(hub, cache_dir, 250_000)
    hub.file(REPO, PATH).faults.served = gguf(700_000)
    with pytest.raises(NetworkError, match="has been replaced on the hub"):
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Naps().outside)
    assert [part.stat().st_size for part in parts_in(cache_dir)] == [250_000]


def test_content_replaced_between_two_requests_is_not_mixed(hub: Hub, cache_dir: Path) -> None:
    """A mirror that follows another hub can change under a commit; its etag tells."""
    file = model_file(hub)

    class ReplaceAtStart(Remembered):
        def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
            super().start(total_bytes, already_bytes, label)
            hub.repos[REPO].files[PATH] = FakeFile(gguf(600_000, seed=9))

    with pytest.raises(NetworkError, match="has been replaced on the hub"):
        fetch(file, config=config(hub, cache_dir), progress=ReplaceAtStart())
    assert blobs_in(cache_dir) == []


@pytest.mark.parametrize("sha256", ["../../../evil", "a/b", ""])
def test_a_listed_hash_can_not_leave_the_cache(hub: Hub, cache_dir: Path, sha256: str) -> None:
    file = model_file(hub)
    file = replace(file, parts=(replace(file.parts[0], sha256=sha256),))
    with pytest.raises(LauncherError):
        fetch(file, config=config(hub, cache_dir))
    assert not cache_dir.exists()


def test_a_partial_longer_than_the_file_starts_over(hub: Hub, cache_dir: Path) -> None:
    keep_some(hub, cache_dir, 250_000)
    with parts_in(cache_dir)[0].open("ab") as part:
        part.write(bytes(500_000))
    progress = Remembered()
    fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert ranges(hub) == [None]
    assert progress.done_bytes == 600_000


def test_a_partial_that_is_already_whole_is_only_checked(hub: Hub, cache_dir: Path) -> None:
    """Killed after the last byte and before the name: the journal is gone by then."""
    keep_some(hub, cache_dir, 250_000)
    parts_in(cache_dir)[0].write_bytes(gguf(600_000))
    next(cache_dir.rglob("*.journal")).unlink()
    fetch(model_file(hub), config=config(hub, cache_dir))
    assert hub.requests.of("cdn") == []
    assert find_cached(model_file(hub), cache_dir) is not None


def test_a_disk_without_room_is_told_before_the_first_byte(hub: Hub, cache_dir: Path) -> None:
    file = model_file(hub, *SPLIT)
    outside = Outside(free_bytes=lambda _: 300_041)
    with pytest.raises(DoesNotFitError) as raised:
        fetch(file, config=config(hub, cache_dir), outside=outside)
    assert (raised.value.needs_bytes, raised.value.has_bytes) == (300_042, 300_041)
    assert "HF_HOME" in str(raised.value.hint)
    assert hub.requests.of("resolve", "GET") == []
    assert not cache_dir.exists()


def test_only_what_is_still_missing_needs_room(hub: Hub, cache_dir: Path) -> None:
    keep_some(hub, cache_dir, 250_000)
    with pytest.raises(DoesNotFitError) as raised:
        fetch(model_file(hub), config=config(hub, cache_dir), outside=Outside(free_bytes=lambda _: 340_000))
    # Blocks of the disk are larger than bytes.
    assert 345_000 <= raised.value.needs_bytes <= 350_000
    assert str(parts_in(cache_dir)[0]) in raised.value.details[0]
    fetch(model_file(hub), config=config(hub, cache_dir), outside=Outside(free_bytes=lambda _: 350_000))


class _FailingFile(DiskFile):
    """A file on a disk that fails once `after_bytes` were written."""

    def __init__(self, path: Path, error: OSError, after_bytes: int) -> None:
        super().__init__(path)
        self.error = error
        self.room_bytes = after_bytes

    def write_at(self, offset: int, data: memoryview) -> int:
        # As a real disk does it: the last write before the error is a short one.
        if self.room_bytes <= 0:
            raise self.error
        written = super().write_at(offset, data[: self.room_bytes])
        self.room_bytes -= written
        return written


def failing(code: int, after_bytes: int) -> Outside:
    def opened(path: Path) -> DiskFile:
        return _FailingFile(path, OSError(code, errno.errorcode[code], str(path)), after_bytes)

    return Outside(open_part=opened, free_bytes=lambda _: 10 * MB)


def test_a_disk_that_fills_up_keeps_what_it_took(hub: Hub, cache_dir: Path) -> None:
    file = model_file(hub)
    with pytest.raises(DoesNotFitError) as raised:
        fetch(file, config=config(hub, cache_dir), outside=failing(errno.ENOSPC, 123_456))
    assert raised.value.needs_bytes == 600_000 - 123_456
    assert [part.stat().st_size for part in parts_in(cache_dir)] == [123_456]
    hub.requests.clear()
    assert fetch(file, config=config(hub, cache_dir)).first.read_bytes() == gguf(600_000)
    assert ranges(hub) == ["bytes=123456-"]


def test_a_disk_that_takes_less_than_offered_gets_the_rest(hub: Hub, cache_dir: Path) -> None:
    """An unbuffered write may be short without any error: the bytes it left out must follow."""

    class Short(DiskFile):
        def write_at(self, offset: int, data: memoryview) -> int:
            return super().write_at(offset, data[:1000])

    local = fetch(model_file(hub), config=config(hub, cache_dir), outside=Outside(open_part=Short))
    assert local.first.read_bytes() == gguf(600_000)


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.EACCES, "no permission"), (errno.EROFS, "no permission"), (errno.EFBIG, "this large"), (errno.EIO, "EIO")],
)
def test_other_errors_of_the_disk_are_explained(hub: Hub, cache_dir: Path, code: int, says: str) -> None:
    with pytest.raises(LauncherError, match=says) as raised:
        fetch(model_file(hub), config=config(hub, cache_dir), outside=failing(code, 1000))
    assert str(raised.value.hint).startswith("HF_HOME=")
    assert [part.stat().st_size for part in parts_in(cache_dir)] == [1000]


def test_a_cache_folder_that_is_a_file_is_explained(hub: Hub, cache_dir: Path) -> None:
    cache_dir.write_text("not a folder")
    with pytest.raises(LauncherError, match="can't write the model"):
        fetch(model_file(hub), config=config(hub, cache_dir))


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: Hub, cache_dir: Path) -> None:
    hub.repos[REPO].token = "hf_secret"
    faults = hub.file(REPO, PATH).faults
    faults.cut_at, faults.cut_times = 250_000, 1
    fetch(model_file(hub), config=config(hub, cache_dir, token="hf_secret"), outside=Naps().outside)
    assert {seen.authorization for seen in hub.requests.of("resolve")} == {"Bearer hf_secret"}
    assert [seen.authorization for seen in hub.requests.of("cdn")] == [None, None]


def test_a_hub_that_redirects_to_another_hub_does_not_hand_on_the_token(cache_dir: Path) -> None:
    """Origin is scheme, host and port: another port of the same address is another's server."""
    with ExitStack() as stack:
        other = stack.enter_context(loopback_hub({REPO: {PATH: gguf(1000)}}))
        hub = stack.enter_context(loopback_hub({REPO: {PATH: gguf(1000)}}))
        hub.cdn_url = other.url.replace("127.0.0.1", "localhost")
        fetch(model_file(hub), config=config(hub, cache_dir, token="hf_secret"))
        assert [seen.authorization for seen in other.requests] == [None]
        assert {seen.authorization for seen in hub.requests} == {"Bearer hf_secret"}


def test_a_small_file_that_the_hub_redirects_within_itself_is_fetched_with_the_token(cache_dir: Path) -> None:
    repo = FakeRepo(REPO, {"config.json": FakeFile(b"{}", lfs=False)})
    repo.token = "hf_secret"
    with loopback_hub({REPO: repo}) as hub:
        file = model_file(hub, "config.json")
        assert fetch(file, config=config(hub, cache_dir, token="hf_secret")).first.read_bytes() == b"{}"
        assert {seen.authorization for seen in hub.requests.of("cache")} == {"Bearer hf_secret"}
