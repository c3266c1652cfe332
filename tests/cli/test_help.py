"""What `metafunc` alone says, on terminals of any width."""

import pytest
from metafunc_cli.__main__ import COMMANDS, run


@pytest.mark.parametrize(("columns", "usage"), [(80, False), (100, False), (120, True)])
def test_no_line_is_longer_than_the_terminal(
    columns: int, usage: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= {*COMMANDS}
    assert any("RUN|COMPARISON [OPTIONS]" in line for line in lines) is usage
