"""Models in the folders of other applications, as those lay them out on Linux, macOS and Windows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

COMMIT = "b97cbb20d1995efd41dce8c4dd1ddf86e8db375b"
REPO = "ggml-org/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-MXFP4.gguf"


def put(path: Path, content: bytes | Path) -> Path:
    """A file with a content, or with that of another file: a hard link, which costs nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        path.hardlink_to(content)
    else:
        path.write_bytes(content)
    return path


def put_text(path: Path, text: str) -> Path:
    return put(path, text.encode())


def lm_studio(models: Path, content: bytes | Path, *, repo: str = REPO, file: str = FILE) -> Path:
    """`publisher/model/file.gguf`."""
    return put(models / repo / file, content)


def jan(data: Path, content: bytes | Path, *, model: str = "ggml-org/gpt-oss-20b-MXFP4") -> Path:
    """`llamacpp/models/ID/model.gguf` with its manifest."""
    folder = data / "llamacpp" / "models" / model
    put_text(
        folder / "model.yml",
        f"embedding: false\nmodel_path: llamacpp/models/{model}/model.gguf\nname: {model}\nsize_bytes: 1\n",
    )
    return put(folder / "model.gguf", content)


def jan_import(data: Path, path: Path, *, model: str = "imported/gpt-oss") -> None:
    """A model that Jan was told of and left where it is."""
    put_text(data / "llamacpp" / "models" / model / "model.yml", f"model_path: {path}\nname: {model}\n")


def gpt4all(folder: Path, content: bytes | Path) -> Path:
    """Flat, beside chats and databases."""
    put(folder / "chat.chat", b"x")
    return put(folder / FILE, content)


def llama_cpp(cache: Path, content: bytes | Path) -> Path:
    """As versions before 2026 named files: owner, repository and file with underscores between them."""
    put_text(cache / "manifest=ggml-org=gpt-oss-20b-GGUF=latest.json", "{}")
    return put(cache / f"{REPO.replace('/', '_')}_{FILE}", content)


def hub(cache: Path, content: bytes | Path, *, commit: str = COMMIT, repo: str = REPO, file: str = FILE) -> Path:
    """The hub's cache: a blob called by its sha256, and a snapshot that links to it."""
    data = content.read_bytes() if isinstance(content, Path) else content
    folder = cache / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    if not blob.exists():
        put(blob, data)
    pointer = folder / "snapshots" / commit / file
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.symlink_to(Path("../" * (len(Path(file).parts) + 1)) / "blobs" / blob.name)
    return pointer


def ollama(models: Path, content: bytes | Path, *, name: str = "registry.ollama.ai/library/gpt-oss/20b") -> Path:
    """A blob called by its sha256, and a manifest that names it among other layers."""
    data = content.read_bytes() if isinstance(content, Path) else content
    digest = hashlib.sha256(data).hexdigest()
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)},
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}", "size": 7},
    ]
    put_text(models / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}))
    return put(models / "blobs" / f"sha256-{digest}", data)


def ollamas_own(content: bytes) -> bytes:
    """The same with the architecture that Ollama's converter writes."""
    key = b"general.architecture\x08\0\0\0"
    own = key + (7).to_bytes(8, "little") + b"gpt-oss"
    assert content.count(own) == 1
    return content.replace(own, key + (6).to_bytes(8, "little") + b"gptoss")
