"""What shells take in, and what they ask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands.completion import SHELLS

ASKED = {
    "bash": 'COMP_WORDS=(metafunc {}); COMP_CWORD={}; _metafunc; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "words=(metafunc {}); CURRENT=$(({} + 1)); _metafunc",
}
BEFORE = {"bash": "", "zsh": "compdef() {{ : }}; compadd() {{ shift; print -l -- $@ }}; _files() {{ print FILES }}\n"}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_finds_no_fault_in_what_is_printed(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    printed = capfd.readouterr().out
    assert "metafunc __complete" in printed
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=printed, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("shell", ASKED)
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("tune maml --space inner", "inner_lr:"),
        ("train maml sinu", "sinusoid"),
        ("train --schedule=cosi", "cosine"),
        ("train --schedule = cosi", "cosine"),
    ],
)
def test_what_is_printed_asks_and_hands_on_the_answer(shell: str, words: str, answer: str, tmp_path: Path) -> None:
    other = " = " if shell == "zsh" else "=c"  # bash takes a flag and its value apart, and zsh does not
    if shutil.which(shell) is None or other in words:
        pytest.skip("a shell that is not here, or words that it has not")
    program = tmp_path / "metafunc"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m metafunc_cli "$@"\n')
    program.chmod(0o755)
    script = BEFORE[shell].format() + SHELLS[shell] + ASKED[shell].format(words, len(words.split()))
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    said = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert said.stdout.split()[-1].endswith(answer), said.stderr


def test_an_empty_last_word_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["__complete", "list", ""]) == 0
    assert capsys.readouterr().out.split()[:2] == ["algorithms", "tasks"]
    assert run(["list", ""]) == 2  # the wrong twin: everywhere else it is one


@pytest.mark.parametrize(("words", "said"), [([], "metafunc completion bash"), (["bsh"], "Did you mean 'bash'?")])
def test_what_is_no_shell_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", *words]) == 2
    assert said in capsys.readouterr().err
