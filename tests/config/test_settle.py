from __future__ import annotations

from pathlib import Path

import pytest
from attrs import field, frozen

from fedproxy.config.located import read_located
from fedproxy.config.settle import DEFAULT, Sources, settle
from fedproxy.errors import ConfigError


@frozen
class Inner:
    workers: int = 1
    ratio: float = 0.5


@frozen
class Outer:
    name: str
    verbose: bool = False
    inner: Inner = field(factory=Inner)
    urls: tuple[str, ...] = ()
    folder: Path = Path("/nowhere")


def yaml_file(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_located(path)


def settled(tmp_path, text="", *, flags=None, env=None, aliases=None):
    sources = Sources(
        flags=flags or {}, env=env or {}, prefix="T_", file=yaml_file(tmp_path, text), aliases=aliases or {}
    )
    return settle(Outer, sources, fixed={"name": "n"})


def test_flag_wins_over_environment_over_file_over_default(tmp_path):
    text = "inner:\n  workers: 2\n"
    env = {"T_INNER_WORKERS": "3"}
    key = ("inner", "workers")
    assert settled(tmp_path).value.inner.workers == 1
    assert settled(tmp_path, text).value.inner.workers == 2
    assert settled(tmp_path, text, env=env).value.inner.workers == 3
    assert settled(tmp_path, text, env=env, flags={key: 4}).value.inner.workers == 4


def test_every_value_says_where_it_came_from(tmp_path):
    found = settled(tmp_path, "\ninner:\n  workers: 2\n", env={"T_VERBOSE": "true"}, flags={("folder",): "/x"})
    assert found.value == Outer("n", verbose=True, inner=Inner(2), folder=Path("/x"))
    assert found.origins["inner", "workers"] == f"{tmp_path / 'config.yaml'}:3"
    assert found.origins["verbose",] == "T_VERBOSE"
    assert found.origins["folder",] == "--folder"
    assert found.origins["urls",] == DEFAULT


@pytest.mark.parametrize(("text", "line", "said"), [
    ("verbose: true\ninner:\n  workers: many\n", 3, "inner.workers: expected a whole number, got 'many'"),
    ("verbose: true\ninner:\n  workers: 1.5\n", 3, "inner.workers: expected a whole number"),
    ("inner:\n  ratio: true\n", 2, "inner.ratio: expected a number"),
    ("verbose: 1\n", 1, "verbose: expected true or false"),
    ("urls: [1]\n", 1, "urls: expected a list of texts"),
    ("urls: shm://a\n", 1, "urls: expected a list of texts"),
    ("folder: 12\n", 1, "folder: expected a path"),
    ("inner: 3\n", 1, "inner: expected keys below it"),
    ("verbose: true\nverbose: false\n", 2, "already set on line 1"),
    ("- a\n- b\n", 1, "expected keys with values"),
    ("verbose: [1\ninner: 2", 2, "not valid YAML"),
    ("inner:\n\tworkers: 1\n", 2, "indent with spaces, not tabs"),
    ("inner:\n  worker: 3\n", 2, "did you mean inner.workers?"),
    ("workers: 3\n", 1, "did you mean inner.workers?"),
    ("name: other\n", 1, "unknown key name"),
])
def test_an_error_names_the_file_the_line_and_the_key(tmp_path, text, line, said):
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, text)
    assert f"config.yaml:{line}:" in str(caught.value)
    assert said in str(caught.value)


def test_an_error_in_the_environment_names_the_variable(tmp_path):
    with pytest.raises(ConfigError, match=r"T_INNER_WORKERS: inner\.workers: expected a whole number, got 'x'"):
        settled(tmp_path, env={"T_INNER_WORKERS": "x"})
    with pytest.raises(ConfigError, match="T_INNER_WORKERS: cannot understand"):
        settled(tmp_path, env={"T_INNER_WORKERS": "[1"})


def test_a_value_that_may_hold_a_password_is_not_repeated(tmp_path):
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, "urls: [1, 'redis://:hunter2@host']\n")
    assert "hunter2" not in str(caught.value)


def test_another_spelling_is_understood_but_not_both(tmp_path):
    aliases = {("max_workers",): ("inner", "workers")}
    assert settled(tmp_path, "max_workers: 5\n", aliases=aliases).value.inner.workers == 5
    with pytest.raises(ConfigError, match=r":3: inner\.workers is already set at .*:1"):
        settled(tmp_path, "max_workers: 5\ninner:\n  workers: 6\n", aliases=aliases)


def test_a_group_with_nothing_below_it_is_the_default(tmp_path):
    assert settled(tmp_path, "inner:\n").value.inner == Inner()


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        read_located(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_located(tmp_path / "none.yaml")


def test_yaml_cannot_build_objects(tmp_path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        yaml_file(tmp_path, "a: !!python/object/apply:os.getpid []\n")
