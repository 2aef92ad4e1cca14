"""Objects from configuration: imports, and keys against real signatures."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from os import getcwd  # noqa: F401 (a name that configurations try to reach)
from pathlib import Path
from typing import Any

import pytest

from headsweep import instantiate
from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.heads.mlp import MLPHead
from headsweep.instantiate import (
    allow,
    check_allowed,
    check_node,
    code_digests,
    locate,
    make,
    own_code,
)

MLP = "headsweep.heads.mlp.MLPHead"
GOOD: dict[str, Any] = {
    "_target_": MLP,
    "regression_hidden_dim": None,
    "regression_num_layers": 3,
    "dropout": 0,
    "layer_norm": True,
}


def takes_anything(first: int, **others: object) -> tuple[int, dict[str, object]]:
    return first, others


@pytest.fixture(autouse=True)
def own_code_is_allowed() -> Iterator[None]:
    allow(["fractions_of_mine", __name__])
    yield
    allow(None)


def test_a_target_is_found_by_its_path() -> None:
    assert locate(f"{__name__}.OfTwo") is OfTwo
    assert locate(MLP) is MLPHead


@pytest.mark.parametrize("target", [f"{__name__}.Nothing", "fractions_of_mine.Thing"])
def test_a_target_that_is_not_there_is_named(target: str) -> None:
    with pytest.raises(UserError, match=f"_target_={target}: cannot be imported"):
        locate(target)


def test_making_calls_the_target_with_arguments_and_keys() -> None:
    node = {"_target_": f"{__name__}.takes_anything", "denominator": 4}
    assert make(node, 6) == (6, {"denominator": 4})


HOSTILE = [
    *(
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "builtins.open",
        "subprocess.Popen",
        "functools.partial",
        "pickle.loads",
        "posix.fork",
    ),
    *("headsweep.files.shutil.rmtree", "headsweep.os.system", "headsweep.files.write_atomic"),
    *(
        "headsweep.instantiate.allow",
        "headsweep.heads.mlp.nn.Linear",
        "headsweep.heads.mlp.MLPHead.",
    ),
    *(
        "hydra.utils.call",
        "hydra.utils.get_method",
        "hydra_plugins.headsweep.sweeper.HeadsweepConf",
    ),
    *(
        "omegaconf.OmegaConf.load",
        "torch.load",
        "numpy.load",
        "yaml.unsafe_load",
        "not_allowed.Head",
    ),
    *("", "plain", ".", "..x", "a..b", "os.system\n", "__main__.x", "__builtins__.eval"),
    *(f"{__name__}.pytest.main", f"{__name__}.Path", f"{__name__}.getcwd", f"{__name__}.HOSTILE"),
    *(f"{__name__}.__dict__", f"{__name__}._private", f"{__name__}.OfTwo.__init__"),
]


@pytest.mark.parametrize("target", HOSTILE)
def test_what_is_not_offered_or_allowed_is_never_built(target: str) -> None:
    with pytest.raises(UserError, match=r"^x\._target_="):
        check_node("x", {"_target_": target})
    with pytest.raises(UserError):
        make({"_target_": target})


def test_an_error_says_what_to_add_to_the_command() -> None:
    with pytest.raises(
        UserError, match=r"add allow=not_allowed\.heads .*--allow not_allowed\.heads"
    ):
        locate("not_allowed.heads.Head")


@pytest.mark.parametrize(
    "modules",
    ["os", "torch", "torch.hub", "torch.nnx", "headsweep", "a b", "a..b", "", [3], {"a": 1}, 5],
)
def test_only_modules_of_the_users_own_can_be_allowed(modules: object) -> None:
    with pytest.raises(UserError, match="allow="):
        allow(modules)


def test_what_headsweep_is_installed_with_is_no_code_of_a_user() -> None:
    """All of it is in one of both lists; of torch the building blocks may be a head."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    named = {re.split(r"[^\w-]", line)[0] for line in project["project"]["dependencies"]}
    modules = {"pyyaml": "yaml", "hydra-core": "hydra", "hydra-optuna-sweeper": "hydra_plugins"}
    needed = {modules.get(name, name) for name in named}
    assert needed == instantiate.LIBRARIES | {"hydra", "hydra_plugins", "omegaconf"}
    allow("torch.nn")
    assert locate("torch.nn.Linear").__name__ == "Linear"
    assert own_code("torch.nn.Linear") == {}


def test_allowing_holds_until_the_next_command() -> None:
    allow(__name__)
    allow(None)
    with pytest.raises(UserError, match="add allow="):
        locate(f"{__name__}.OfTwo")


def test_a_configuration_cannot_allow_anything() -> None:
    for allowed in (__name__, [__name__], None, []):
        check_allowed(allowed)
    for others in ("evil", [__name__, "evil"], {"a": 1}, 3):
        with pytest.raises(UserError, match="command line only"):
            check_allowed(others)


def test_an_installed_distribution_offers_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offered_heads.py").write_text("class Head:\n    pass\n")
    (tmp_path / "offered-1.0.dist-info").mkdir()
    about = tmp_path / "offered-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[headsweep]\nmine = offered_heads:Head\n")
    monkeypatch.syspath_prepend(tmp_path)
    instantiate._installed.cache_clear()
    try:
        assert locate("offered_heads.Head").__name__ == "Head"
    finally:
        monkeypatch.undo()
        instantiate._installed.cache_clear()


MINE = """
import my_layers
from .sibling import b

class Head:
    def key(self):
        return "k"
"""


def test_own_code_is_all_that_the_module_imports_and_nobody_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "heads.py").write_text(MINE)
    (package / "sibling.py").write_text("import json\nimport torch\nb = 1\n")
    (tmp_path / "my_layers.py").write_text("from os import path\n")
    monkeypatch.syspath_prepend(tmp_path)
    allow("my_package")
    before = own_code("my_package.heads.Head")
    assert sorted(before) == ["my_layers", "my_package", "my_package.heads", "my_package.sibling"]
    key = make({"_target_": "my_package.heads.Head"}).key()
    assert make({"_target_": "my_package.heads.Head"}).key() == key != "k"
    (tmp_path / "my_layers.py").write_text("from os import path  # changed\n")
    after = own_code("my_package.heads.Head")
    changed = [
        name for name, digest in code_digests(before).items() if code_digests(after)[name] != digest
    ]
    assert changed == ["my_layers"]
    assert make({"_target_": "my_package.heads.Head"}).key() != key
    assert own_code() == {}


def test_good_nodes_pass() -> None:
    check_node("head", GOOD, leading=2)
    check_node("head", GOOD | {"regression_hidden_dim": 7, "dropout": 0.5}, leading=2)
    check_node("head", MLPHeadConfig(), leading=2)
    check_node("x", {"_target_": f"{__name__}.takes_anything", "first": 1, "more": "text"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 5}, r"head\.width: MLPHead takes no such key"),
        ({"in_dim": 5}, r"head\.in_dim: MLPHead takes no such key"),
        ({"dropout": "much"}, r"head\.dropout='much': must be float"),
        ({"dropout": True}, r"head\.dropout=True: must be float"),
        ({"regression_num_layers": 2.5}, r"head\.regression_num_layers=2\.5: must be int"),
        ({"regression_hidden_dim": "wide"}, r"head\.regression_hidden_dim='wide': must be int"),
        ({"layer_norm": 1}, r"head\.layer_norm=1: must be bool"),
    ],
)
def test_a_bad_key_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_node("head", GOOD | changes, leading=2)


def test_a_missing_key_is_named() -> None:
    node = {key: value for key, value in GOOD.items() if key != "dropout"}
    with pytest.raises(UserError, match=r"head\.dropout is missing: MLPHead needs it"):
        check_node("head", node, leading=2)


@pytest.mark.parametrize("node", [{"dropout": 0.1}, 5, None])
def test_a_node_without_a_target_is_refused(node: object) -> None:
    with pytest.raises(UserError, match="head: needs a _target_"):
        check_node("head", node)


def test_a_dataclass_that_names_another_target_is_checked_against_it() -> None:
    with pytest.raises(UserError, match=r"head\.regression_hidden_dim: OfTwo takes no such key"):
        check_node("head", MLPHeadConfig(_target_=f"{__name__}.OfTwo"))


@dataclass
class OfTwo:
    """Takes a number or a name."""

    value: int | str


@pytest.mark.parametrize(("value", "ok"), [(3, True), ("a", True), (2.5, False), (None, False)])
def test_a_union_takes_each_of_its_types(value: object, ok: bool) -> None:
    node = {"_target_": f"{__name__}.OfTwo", "value": value}
    if ok:
        check_node("x", node)
    else:
        with pytest.raises(UserError, match=r"x\.value=.*: must be"):
            check_node("x", node)
