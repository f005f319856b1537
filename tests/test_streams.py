"""Standard output and error of any kind: in another encoding, full, closed, without a reader."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import click
from bench.cli import cli, main
from bench.errors import BenchError

@cli.command()
@click.argument("text")
@click.option("--times", default=1)
def say(text, times):
    click.echo("".join([text] * times))

@cli.command()
@click.argument("text")
def refuse(text):
    raise BenchError(text)

@cli.command()
def start():
    import subprocess, sys
    sys.exit(subprocess.run([sys.executable, "-c", "print(chr(0x2191))"]).returncode)

@cli.command()
def opens():
    import os
    with open("file", "w") as file:
        file.write(str([os.fstat(n) is not None for n in range(3)] + [file.fileno() > 2]))
    os.write(2, b"a library's complaint")

main()
"""
TEXT = "PSNR ↑ 31.2 ± 0.1 dB → é 日 “x2” …"
ENCODINGS = {
    "latin-1": b'PSNR ^ 31.2 \xb1 0.1 dB -> \xe9 \\u65e5 "x2" ...\n',
    "cp1252": b"PSNR ^ 31.2 \xb1 0.1 dB -> \xe9 \\u65e5 \x93x2\x94 \x85\n",
    "ascii": b'PSNR ^ 31.2 +- 0.1 dB -> \\xe9 \\u65e5 "x2" ...\n',
    "utf-8": TEXT.encode() + b"\n",
}
PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def bench(folder: Path, *words: str | bytes, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Runs the script above; what it prints as bytes."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"}
    more["env"] = environment | more.pop("env", {})
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([sys.executable, "-c", SCRIPT, *words], cwd=folder, **more)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_an_encoding_lacks_is_replaced_readably(tmp_path: Path, encoding: str):
    said = bench(tmp_path, "say", TEXT, env={"PYTHONIOENCODING": encoding})
    assert (said.returncode, said.stdout, said.stderr) == (0, ENCODINGS[encoding], b"")
    refused = bench(tmp_path, "refuse", TEXT, env={"PYTHONIOENCODING": encoding})
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr == b"Error: " + ENCODINGS[encoding]


def test_a_locale_of_ascii_gets_ascii(tmp_path: Path):
    said = bench(tmp_path, "say", "é", "--times", "2", env=PLAIN_C)
    assert (said.returncode, said.stdout) == (0, rb"\xc3\xa9\xc3\xa9" + b"\n")  # its bytes


def test_a_file_name_that_is_no_text_is_shown_by_its_bytes(tmp_path: Path):
    said = bench(tmp_path, "say", b"caf\xe9.png", env={"PYTHONIOENCODING": "utf-8"})
    assert (said.returncode, said.stdout) == (0, b"caf\\xe9.png\n")
    refused = bench(tmp_path, "refuse", b"caf\xe9.png", env={"PYTHONIOENCODING": "utf-8"})
    assert refused.stderr == b"Error: caf\\xe9.png\n"


def test_a_process_that_is_started_prints_what_it_likes(tmp_path: Path):
    assert bench(tmp_path, "start", env={"PYTHONIOENCODING": "latin-1"}).stdout == b"\\u2191\n"
    assert bench(tmp_path, "start", env=PLAIN_C).stdout == b"\\u2191\n"


@pytest.mark.parametrize("words", [("say", "a"), ("say", "a", "--times", "100000"), ("--help",)])
def test_a_full_standard_output_is_one_message(tmp_path: Path, words: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        ended = bench(tmp_path, *words, stdout=full)
    assert ended.returncode == 2
    message = b"the disk is full (standard output). Nothing is lost: make room and run the same "
    assert ended.stderr == b"Error: " + message + b"command again.\n"


@pytest.mark.parametrize("words", [("say", "a"), ("say", "a", "--times", "100000"), ("--help",)])
def test_a_reader_that_has_gone_ends_it_silently(tmp_path: Path, words: tuple[str, ...]):
    reader, writer = os.pipe()
    os.close(reader)
    ended = bench(tmp_path, *words, stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_standard_error_that_takes_nothing_keeps_the_status(tmp_path: Path):
    with open("/dev/full", "w") as full:
        assert bench(tmp_path, "refuse", "no", stderr=full).returncode == 2
        ended = bench(tmp_path, "say", "a", stderr=full)
    assert (ended.returncode, ended.stdout) == (0, b"a\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_none_of_the_files_that_are_opened(tmp_path: Path, closed: str):
    (tmp_path / "script.py").write_text(SCRIPT)
    line = f'"{sys.executable}" script.py opens {closed}'
    assert subprocess.run(line, shell=True, cwd=tmp_path).returncode == 0
    assert (tmp_path / "file").read_text() == "[True, True, True, True]"


SAME_IN_ALL = {"bench/measure/metrics/viqet.py"}
"""Reads a table in ASCII; its code decides scores, which a change would have computed anew."""


def opens_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text, so far as its own words tell."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and type(a.value) is str]
    method = isinstance(call.func, ast.Attribute)
    if name in ("read_text", "write_text"):
        return method
    if method and name == "open":  # of a path; of pictures or a study there is no mode
        return any(k.arg == "newline" for k in call.keywords) or (
            bool(modes) and not any("b" in mode for mode in modes)
        )
    return name in ("open", "fdopen") and not any("b" in mode for mode in modes)


def test_text_is_utf_8_in_every_locale():
    """Each call that opens a text file says so: the default is the locale's."""
    root = Path(__file__).parents[1]
    silent = [
        f"{name}:{call.lineno}"
        for file in [*(root / "bench").rglob("*.py"), *(root / "methods").rglob("*.py")]
        if (name := file.relative_to(root).as_posix()) not in SAME_IN_ALL
        for call in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(call, ast.Call) and opens_text(call)
        if not any(k.arg == "encoding" for k in call.keywords)
    ]
    assert silent == []


def test_bindings_that_a_metric_loads_print_nothing_at_the_end(tmp_path: Path) -> None:
    """triton's tell of leaks on 30 lines when what is frozen cannot be collected."""
    code = SCRIPT.replace("import click\n", "import click, gc, triton\ngc.freeze()\n", 1)
    done = subprocess.run([sys.executable, "-c", code, "say", "x"], capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"x\n", b"", 0)
