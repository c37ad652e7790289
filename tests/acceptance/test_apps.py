"""`--app module:attribute`: what is loaded, and what is said when it cannot be."""

from __future__ import annotations

import pytest

from tests.command_line import Project

BROKEN = """
import shop

def prepare() -> None:
    print("preparing")
    return missing_name

app = prepare()
"""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("shop", 'write "shop:app"'),
        ("shop.py:app", '"shop:app"'),
        ("shpo:app", 'there is no module "shpo", did you mean "shop"?'),
        ("shop.jobs:app", 'there is no module "shop.jobs"'),
        ("shop:ap", 'has no "ap", did you mean "app"?'),
        ("shop:zzz", 'has no "zzz"; its Worchflow is app'),
        ("shop:Pay", "is an object of type ModelMetaclass, not a Worchflow"),
        ("json:loads", "it has no Worchflow, make one"),
    ],
)
def test_a_target_that_names_no_app_is_explained(
    project: Project, target: str, says: str
) -> None:
    refused = project.run("--app", target, "executions", "list")

    assert refused.code == 2
    assert says in refused.err
    assert "[WF1001]" in refused.err
    assert "Traceback" not in refused.err


def test_a_module_that_raises_shows_its_own_traceback_only(project: Project) -> None:
    project.write("broken.py", BROKEN)

    refused = project.run("worker", "broken:app")

    assert refused.code == 2
    assert 'the module "broken" raised NameError' in refused.err
    assert "in prepare\n    return missing_name" in refused.err
    assert "worchflow/cli" not in refused.err
    assert "importlib" not in refused.err
    assert "preparing" in refused.err


def test_an_import_missing_in_the_module_is_the_module_s_own_error(
    project: Project,
) -> None:
    project.write("broken.py", "import no_such_library")

    refused = project.run("--app", "broken:app", "executions", "list")

    assert refused.code == 2
    assert "import no_such_library" in refused.err
    assert "raised ModuleNotFoundError" in refused.err


def test_what_a_module_prints_is_no_data(project: Project) -> None:
    project.write("chatty.py", 'from shop import app\nprint("hello")')

    listed = project.run("--app", "chatty:app", "executions", "list", "-o", "json")

    assert listed.json == {"executions": [], "cursor": None}
    assert listed.err.startswith("hello\n")


def test_the_app_may_be_an_attribute_of_an_attribute(project: Project) -> None:
    project.write("nested.py", "import shop\nclass Apps:\n    shop = shop.app")

    listed = project.run("-A", "nested:Apps.shop", "executions", "list", "-o", "json")

    assert listed.code == 0
