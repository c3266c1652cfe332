"""Runs on the Hugging Face hub: `hf://user/name@revision` stands for a folder, which is fetched, looked over and read.

Only the files that a run is read from are fetched: JSON and safetensors. A repository that holds pickles, whose file
names lead elsewhere, or whose configuration names a module to import, is refused. `HF_ENDPOINT` names another hub.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from metafunc.data.sampling import DataUnavailable
from metafunc.training import json_file
from metafunc.training.json_file import FileError
from metafunc.training.record import CONFIG

ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[^@]+?)(?:@(?P<revision>[^@]+))?/?")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9]([\w.-]*\w)?", re.ASCII)
READ = re.compile(
    r"config\.json|env\.json|metrics\.jsonl|meta_test[\w=+,.-]*\.json|checkpoints/step-\d{9}/(manifest\.json|tensors\.safetensors)"
)
"""The files that a run is read from."""
KEPT = ["config.json", "env.json", "metrics.jsonl", "meta_test*.json", "checkpoints/*"]
"""The same as patterns, for a cache."""
CODE = (".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz", ".h5", ".keras")
"""Endings of files that can hold code which reading them runs."""
AWAY = "Look at the network, and at HF_ENDPOINT; what was fetched before is read under HF_HUB_OFFLINE=1"
"""What helps where the hub cannot be reached."""


class Address(NamedTuple):
    """A repository, and which state of it; None: the newest."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")


def is_address(run: str | Path) -> bool:
    """Whether a run lies on the hub.

    Examples:
        >>> is_address("hf://user/name@v1"), is_address("runs/maml-sinusoid-1")
        (True, False)
    """
    return str(run).startswith("hf:/")


def address(run: str | Path) -> Address:
    """What an address names.

    Raises:
        ValueError: it is not of the form `hf://user/name@revision`.

    Examples:
        >>> address("hf://user/name@v1")
        Address(name='user/name', revision='v1')
    """
    found = ADDRESS.fullmatch(str(run))
    if not found:
        raise ValueError(f"{run} is no address: it needs the form hf://user/name or hf://user/name@revision.")
    return Address(checked_name(found["name"]), found["revision"])


def checked_name(name: str) -> str:
    """The name of a repository.

    Raises:
        ValueError: no repository can have it.
    """
    if not NAME.fullmatch(name) or len(name) > 96 or {"--", ".."} & {name[i : i + 2] for i in range(len(name))}:
        raise ValueError(f"{name!r} is no name of a repository: it needs the form user/name, such as ada/machines-v1.")
    return name


def local(run: str | Path, *, imports: bool = False) -> Path:
    """The folder of a run, which is fetched first if it lies on the hub.

    Args:
        run: a folder, or `hf://user/name@revision`.
        imports: whether modules that a configuration names may be imported; for a run on the hub never.

    Returns:
        The folder; of a fetched run it lies in the cache of the hub, and what was fetched before is not fetched again.

    Raises:
        ValueError: the address has another form, or `imports` is asked for.
        DataUnavailable: there is no such repository, or no way to it.
        FileError: the repository holds no run, or what may run code.
    """
    if not is_address(run):
        return Path(run)
    if imports:
        raise ValueError(f"{run} lies on the hub, and from there no module is imported: leave imports out.")
    return _fetched(address(run))


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a folder as it is, all files in one commit; what the repository held besides is deleted.

    Args:
        folder: what to upload.
        name: of the repository, which is made if there is none.
        private: whether a new repository is private.

    Returns:
        The address of what was uploaded, with its revision.

    Raises:
        ValueError: no repository can have the name.
        DataUnavailable: the hub cannot be reached, or does not allow it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _reached(f"{checked_name(name)} cannot be written", "Log in with: hf auth login"):
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="Upload a run of metafunc", delete_patterns="*"
        )
    return str(Address(name, commit.oid))


def refuse(names: Iterable[str], where: Address) -> list[str]:
    """The files of a repository that a run is read from.

    Raises:
        FileError: one leads out of the repository or may hold code, or those of a run are missing.

    Examples:
        >>> refuse(["config.json", "README.md"], Address("user/name", None))
        ['config.json']
    """
    known = [*names]
    for name in known:
        if name.startswith(("/", "~")) or "\\" in name or ":" in name or {"..", "."} & {*name.split("/")}:
            raise FileError(f"{where} is refused: its file {name!r} leads out of the folder.")
        if name.lower().endswith(CODE):
            raise FileError(f"{where} is refused: {name} can hold code that reading it would run.")
    if CONFIG not in known:
        raise FileError(f"{where} holds no run: it has no {CONFIG}.")
    return [name for name in known if READ.fullmatch(name)]


def _fetched(where: Address) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    hint = "Look at the name; or log in: hf auth login; or take what was fetched before: HF_HUB_OFFLINE=1"
    with _reached(f"{where} cannot be read", hint):
        if constants.HF_HUB_OFFLINE:
            folder = Path(
                snapshot_download(where.name, revision=where.revision, allow_patterns=KEPT, local_files_only=True)
            )
            refuse((str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir()), where)
        else:
            info = HfApi().model_info(where.name, revision=where.revision)
            wanted = refuse((file.rfilename for file in info.siblings or ()), where)
            folder = Path(snapshot_download(where.name, revision=where.revision, allow_patterns=wanted))
    _refuse_modules(folder, where)
    return folder


def _refuse_modules(folder: Path, where: Address) -> None:
    for section, settings in json_file.read(folder / CONFIG).items():
        name = settings.get("name") if isinstance(settings, dict) else None
        if isinstance(name, str) and ":" in name:
            raise FileError(f"{where} is refused: its {section} is {name}, a module that would have to be imported.")


@contextmanager
def _reached(what: str, hint: str) -> Iterator[None]:
    """Errors of the hub and of the way to it, as one line."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of the client that it uses
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except FileError:
        raise
    except RepositoryNotFoundError as error:
        raise DataUnavailable(f"{what}: there is no such repository, or it is private. {hint}.") from error
    except RevisionNotFoundError as error:
        raise DataUnavailable(f"{what}: the repository has no such revision. {hint}.") from error
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        away = getattr(error, "response", None) is None and not isinstance(error, ValueError)
        remedy = AWAY if away else hint
        raise DataUnavailable(f"{what}: {reason or type(error).__name__}. {remedy}.") from error
