"""Named checkpoints, downloaded from a real server on the loopback: whole and verified, or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from priorfit import hub, manifest
from priorfit.checkpoints import CheckpointError, save, update_metrics
from priorfit.files import file_sha256
from priorfit.hub import DownloadError, list_checkpoints, load, locate, register_file
from scripts import ship
from tests.toy import ToyNetwork, ToyPrior

ROOT = Path(__file__).resolve().parents[1]
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def send(handler: BaseHTTPRequestHandler, content: bytes, length: int | None = None) -> None:
    """The usual answer; `length` is what it claims to send."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


class Server(ThreadingHTTPServer):
    """Serves a folder's files in the way that `answer` says, and counts the requests."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.answer: Answer = send
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/files"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.answer(self, (self.server.folder / Path(self.path).name).read_bytes())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest of its own in place of the project's, and a cache of its own."""
    home = tmp_path / "home"
    home.mkdir()
    document = json.loads((ROOT / "checkpoints" / "manifest.json").read_text(encoding="utf-8"))
    document["checkpoints"] = {}
    (home / "manifest.json").write_text(json.dumps(document))
    monkeypatch.setattr(manifest, "folder", lambda: home)
    monkeypatch.setattr(hub, "folder", lambda: home)
    monkeypatch.setattr(ship, "folder", lambda: home)
    monkeypatch.setenv("PRIORFIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PRIORFIT_OFFLINE", raising=False)
    monkeypatch.delenv("PRIORFIT_CHECKPOINT_URL", raising=False)
    return home


@pytest.fixture
def shipped(tmp_path: Path, home: Path) -> Path:
    """A checkpoint that was registered as "toy"; returns its file."""
    metrics = {"nll": 0.5}
    path = save(tmp_path / "run" / "last.safetensors", ToyNetwork(), ToyPrior(), metrics=metrics, description="A toy.")
    register_file(path, "toy")
    return home / "toy.safetensors"


@pytest.fixture
def server(tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that holds the checkpoint "toy", which is no longer here."""
    files = tmp_path / "files"
    files.mkdir()
    shipped.rename(files / shipped.name)
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("PRIORFIT_CHECKPOINT_URL", server.url + "/")
        yield server
        server.shutdown()


def cached() -> list[Path]:
    """Every file in the cache, whole or not."""
    return [path for path in Path(os.environ["PRIORFIT_CACHE"]).rglob("*") if path.is_file()]


def assert_fails(message: str) -> None:
    with pytest.raises(DownloadError, match=f"(?s){message}"):
        load("toy")
    assert not cached()


def test_a_packaged_checkpoint_needs_no_download(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORFIT_OFFLINE", "1")
    assert load("toy").metadata["description"] == "A toy."
    assert locate("toy") == shipped
    assert not cached()
    (entry,) = list_checkpoints()
    assert (entry.name, entry.file, entry.description) == ("toy", "toy.safetensors", "A toy.")
    assert (entry.size, entry.sha256) == (shipped.stat().st_size, file_sha256(shipped))
    assert entry.metrics == {"nll": 0.5}
    assert entry.local


def test_a_download_is_verified_cached_and_shown(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert not list_checkpoints()[0].local
    first = load("toy").network
    assert server.requests == ["/files/toy.safetensors"]
    (file,) = cached()
    assert file.read_bytes() == (server.folder / "toy.safetensors").read_bytes()
    error = capsys.readouterr().err
    assert "toy" in error
    assert "100%" in error
    assert list_checkpoints()[0].local
    server.shutdown()
    server.server_close()
    second = load("toy").network
    assert len(server.requests) == 1
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_the_address_is_the_manifests_by_default(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((home / "manifest.json").read_text())
    assert document["base_url"].startswith("https://")
    (home / "manifest.json").write_text(json.dumps({**document, "base_url": server.url}))
    monkeypatch.delenv("PRIORFIT_CHECKPOINT_URL")
    load("toy")
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"!", lambda content: content[:50]])
def test_a_damaged_cache_is_downloaded_again(server: Server, damage: Callable[[bytes], bytes]) -> None:
    path = locate("toy")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert locate("toy") == path
    assert path.read_bytes() == whole
    assert len(server.requests) == 2
    assert cached() == [path]


def test_wrong_content(server: Server) -> None:
    server.answer = lambda handler, content: send(handler, content[:-1] + b"!")
    assert_fails("not the file that the manifest lists.*deleted")


def test_truncated(server: Server) -> None:
    server.answer = lambda handler, content: send(handler, content[:100], length=len(content))
    assert_fails("toy.safetensors failed: .*IncompleteRead.*try again")


def test_truncated_without_a_length(server: Server) -> None:
    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(content[:100])

    server.answer = answer
    assert_fails("not the file.*100 bytes")


@pytest.mark.parametrize("status", [404, 500])
def test_http_errors(server: Server, status: int) -> None:
    server.answer = lambda handler, content: handler.send_error(status)
    assert_fails(f"toy.safetensors failed: {status}.*PRIORFIT_CHECKPOINT_URL")


def test_connection_refused(server: Server) -> None:
    server.shutdown()
    server.server_close()
    assert_fails("toy.safetensors failed: .*Check the connection")


def test_silence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    server.answer = lambda handler, content: (send(handler, content[:100], len(content)), done.wait(10))[0]
    monkeypatch.setattr(hub, "TIMEOUTS", (1, 0.2))
    assert_fails("failed: .*timed out")
    done.set()


@pytest.mark.parametrize("url", ["file:///etc", "http://", "nonsense"])
def test_bad_addresses(server: Server, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PRIORFIT_CHECKPOINT_URL", url)
    assert_fails("failed")


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORFIT_OFFLINE", "1")
    assert_fails("PRIORFIT_OFFLINE forbids")
    monkeypatch.setenv("PRIORFIT_OFFLINE", "0")
    load("toy")
    monkeypatch.setenv("PRIORFIT_OFFLINE", "1")
    load("toy")
    assert len(server.requests) == 1


class FullDisk:
    """A file that takes one piece and no more."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, content: bytes) -> None:
        self.file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.file.close()


def test_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> FullDisk:
        return FullDisk(open(*args))

    monkeypatch.setattr("pooch.downloaders.open", full, raising=False)
    assert_fails("No space left on device.*PRIORFIT_CACHE")


def test_a_cache_that_is_no_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRIORFIT_CACHE", str(tmp_path / "file"))
    assert_fails("Storing .* failed: .*PRIORFIT_CACHE")


def start(home: Path) -> subprocess.Popen[str]:
    """Another process that locates "toy" and prints where it is and whether it is sound."""
    code = (
        "import signal\n"  # a suite that runs in the background of a shell passes on that Ctrl-C is ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from priorfit import checkpoint_file, hub, manifest\n"
        f"hub.folder = manifest.folder = lambda: Path({str(home)!r})\n"
        "path = hub.locate('toy')\n"
        "checkpoint_file.open_file(path)\n"
        "print('sound', path.name)\n"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)


def test_two_processes_at_once(server: Server, home: Path) -> None:
    together = threading.Barrier(2, timeout=60)

    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        together.wait()  # neither gets anything before both have asked
        send(handler, content)

    server.answer = answer
    processes = [start(home) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    (path,) = cached()
    assert [output for output, _ in outputs] == [f"sound {path.name}\n"] * 2, outputs
    assert len(server.requests) == 2
    assert load("toy")


def test_an_interrupted_download_leaves_nothing(server: Server, home: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        send(handler, content[:100], len(content))
        begun.set()
        done.wait(60)

    server.answer = answer
    process = start(home)
    assert begun.wait(60)
    while not cached():  # the client is between the answer's first line and its end
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    done.set()
    assert "KeyboardInterrupt" in error
    assert not cached()


def test_a_packaged_file_that_was_changed_is_refused(shipped: Path) -> None:
    update_metrics(shipped, {"nll": -100.0})
    with pytest.raises(CheckpointError, match="not the file that the manifest beside it lists"):
        load("toy")
    register_file(shipped, "toy", description="Better.", metrics={"crps": 1.0})
    load("toy")
    (entry,) = list_checkpoints()
    assert (entry.description, entry.metrics) == ("Better.", {"crps": 1.0})


def test_paths_and_names(tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.chdir(run)
    (run / "plain").write_bytes(shipped.read_bytes())
    (run / "toy").write_text("a file of the same name as a checkpoint")
    for name in (
        "last.safetensors",
        "./plain",
        "plain",
        "toy",
        run / "plain",
        str(run / "plain"),
        Path("plain"),
    ):
        assert load(name).network.arguments == {"width": 3}
    with pytest.raises(CheckpointError, match="no such file"):
        load("toy.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        load("somewhere/toy")
    with pytest.raises(CheckpointError, match="'tou': did you mean 'toy'"):
        load("tou")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("../toy", {}),
        ("", {}),
        ("toy", {"file": "../toy.safetensors"}),
        ("toy", {"file": "toy.pt"}),
        ("toy", {"sha256": "abc"}),
        ("toy", {"size": "1"}),
        ("toy", {"code": "import os"}),
    ],
)
def test_a_manifest_entry_that_is_wrong_is_refused(
    home: Path, shipped: Path, name: str, change: dict[str, Any]
) -> None:
    document = json.loads((home / "manifest.json").read_text())
    document["checkpoints"] = {name: {**document["checkpoints"]["toy"], **change}}
    (home / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="cannot be used"):
        list_checkpoints()


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"schema_version": 2, "base_url": "", "checkpoints": {}}'])
def test_a_manifest_that_is_wrong_is_refused(home: Path, text: str | None) -> None:
    path = home / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        load("toy")


def test_registering_keeps_the_manifest_in_order(shipped: Path, home: Path) -> None:
    register_file(shipped, "a-toy")
    assert list(json.loads((home / "manifest.json").read_text())["checkpoints"]) == ["a-toy", "toy"]
    for name in ("../toy", "", ".toy", "a/b"):
        with pytest.raises(CheckpointError, match="plain name"):
            register_file(shipped, name)
    assert sorted(path.name for path in home.iterdir()) == [
        "a-toy.safetensors",
        "manifest.json",
        "toy.safetensors",
    ]


def test_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "run" / "deep" / "last.safetensors", ToyNetwork(), ToyPrior())
    monkeypatch.setattr(sys, "argv", ["ship.py", str(tmp_path / "run"), "shipped"])
    ship.main()
    assert "shipped.safetensors" in capsys.readouterr().out
    load("shipped")
    save(tmp_path / "run" / "best.safetensors", ToyNetwork(), ToyPrior())
    with pytest.raises(SystemExit):
        ship.main()
    assert "best.safetensors, deep" in capsys.readouterr().err


def test_the_projects_own_manifest_lists_sound_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "folder", lambda: ROOT / "checkpoints")
    for entry in manifest.read_manifest().entries.values():
        path = ROOT / "checkpoints" / entry.file
        assert (path.stat().st_size, file_sha256(path)) == (entry.size, entry.sha256)


def test_importing_brings_in_nothing_that_only_training_needs() -> None:
    heavy = "lightning", "hydra", "wandb", "matplotlib", "pooch", "requests"
    code = f"import sys, priorfit.hub; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout == "[]\n"
