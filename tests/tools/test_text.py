"""Cutting, cleaning, and reading code out of arguments."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.tools.folder import empty, overfull
from launcher.tools.jail import seccomp
from launcher.tools.jail.syscalls import AUDIT_ARCH, table
from launcher.tools.python_code import code_of
from launcher.tools.seatbelt import profile
from launcher.tools.text import Tail, clean_line, clean_text, cut_middle


@given(st.text(max_size=300), st.integers(min_value=0, max_value=300))
def test_a_cut_keeps_to_its_limit_and_counts(text: str, limit: int) -> None:
    kept, n_cut = cut_middle(text, limit)
    assert len(kept) <= max(limit, 0)
    if n_cut == 0:
        assert kept == text
    elif "left out" in kept:
        head, _, rest = kept.partition("\n[... ")
        tail = rest.partition(" ...]\n")[2]
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + len(tail) + n_cut == len(text)
    else:
        assert len(kept) + n_cut == len(text)


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_a_stream_in_bounded_memory_keeps_both_ends(pieces: list[bytes]) -> None:
    pieces = [bytes(byte & 0x7F for byte in piece) for piece in pieces]
    tail = Tail(100)
    for piece in pieces:
        tail.add(piece)
    whole = b"".join(pieces).decode()
    text, n_cut = tail.cut(10_000)
    if len(whole) <= 100:
        assert (text, n_cut) == (whole, 0)
    elif n_cut:
        assert text.startswith(whole[:50])
        assert text.endswith(whole[-50:])
        assert n_cut == len(whole) - 100
    assert tail.cut(80)[1] >= n_cut


def test_what_steers_a_terminal_is_cleaned() -> None:
    hostile = "a\x1b[31mred\x07\r\n\u202eb\x9b2J\ttab\0"
    assert clean_text(hostile) == "a [31mred \n b 2J\ttab "
    assert clean_line(hostile) == "a [31mred b 2J tab"
    assert clean_line("x" * 400) == "x" * 299 + "…"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"code": "print(1)"}', "print(1)"),
        ('{"code": "a\nb"}', "a\nb"),
        ('"print(1)"', "print(1)"),
        ("print(1)", "print(1)"),
        ("{'a': 1}", "{'a': 1}"),
        ("[1, 2]", "[1, 2]"),
        ("42", "42"),
        ('{"script": "print(1)"}', "print(1)"),
        ("```python\nprint(1)\n```", "print(1)"),
        ('{"code": "```\\nprint(1)```\\n"}', "print(1)"),
        ("import json\njson.loads('{\"code\": 1}')", "import json\njson.loads('{\"code\": 1}')"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_code_is_found_in_what_models_send(arguments: str, code: str) -> None:
    assert code_of(arguments) == code


@pytest.mark.parametrize("arguments", ["", " ", "{}", '{"code": null}', '{"code": "x', '{"a": "x", "b": "y"}', '""'])
def test_no_code_is_an_error_for_the_model(arguments: str) -> None:
    with pytest.raises(ValueError, match="send"):
        code_of(arguments)


def test_a_folder_is_measured_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "large").write_bytes(bytes(1 << 20))
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "out")
    (inside / "loop").symlink_to(inside)
    assert overfull(inside, 100_000) is None
    (inside / "own").write_bytes(bytes(200_000))
    assert overfull(inside, 100_000) == "more than 0 MiB"
    empty(inside)
    assert list(inside.iterdir()) == []
    assert (tmp_path / "out" / "large").exists()


def verdict(machine: str, name: str, first: int = 0, *, number: int | None = None, arch: int | None = None) -> int:
    """What the filter says to a call: a small interpreter of the kernel's packet filter."""
    data = {0: table(machine)[name] if number is None else number, 4: arch or AUDIT_ARCH[machine], 16: first}
    steps = seccomp.build(machine, 77, metadata=True)
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            value = data[operand]
        elif code == 0x06:
            return operand
        else:
            is_true = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            at += if_true if is_true else if_false


ALLOW = 0x7FFF0000
EPERM = 0x50000 | errno.EPERM
ENOSYS = 0x50000 | errno.ENOSYS


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_system_calls(machine: str) -> None:
    for name in ("execve", "ptrace", "socket", "unshare", "bpf", "io_uring_setup", "memfd_create", "fchmodat"):
        assert verdict(machine, name) == EPERM
    assert verdict(machine, "clone3") == ENOSYS
    assert verdict(machine, "clone", 0x3D0F00) == ALLOW  # what a thread of the C library asks for
    assert verdict(machine, "clone", 0x1200011) == EPERM  # and what its fork does
    assert verdict(machine, "socketpair", 1) == ALLOW
    assert verdict(machine, "socketpair", 2) == EPERM
    assert verdict(machine, "kill", 77) == ALLOW
    assert verdict(machine, "kill", 78) == EPERM
    assert verdict(machine, "prlimit64", 0) == ALLOW
    assert verdict(machine, "prlimit64", 78) == EPERM
    assert verdict(machine, "", number=9_999) == ENOSYS
    assert verdict(machine, "", number=0x40000000 + 41) == EPERM
    assert verdict(machine, "", number=222) == ALLOW
    assert verdict(machine, "kill", arch=0x40000003) == 0x80000000  # 32-bit calls on x86


def test_the_profile_for_macos_names_what_may_be_used() -> None:
    text = profile(["/usr/lib"], '/tmp/a "b"\\', "/opt/python")
    assert text.splitlines()[1] == "(deny default)"
    assert '(allow file-read* file-write* (subpath "/tmp/a \\"b\\"\\\\"))' in text
    assert '(allow file-read* (subpath "/usr/lib"))' in text
    assert "(deny network*)" in text
    assert os.linesep not in text.splitlines()
