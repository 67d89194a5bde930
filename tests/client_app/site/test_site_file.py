"""A site's one file: what it may say, and how mistakes are told."""

from pathlib import Path

import pytest
from errors import naming
from fmtl_datasets.scenarios.scenario import ScenarioError

from client_app.round.identity import identify
from client_app.site.site_file import read_site_file

TEXT = """coordinator: fl.example.org:8000
authority: ca.crt
key: keys/a.key
state: /var/lib/site
client:
  name: hospital-a
  dataset: folder
  data-root: scans
  tasks: [semseg]
  image-size: [64, 64]
  encoder: resnet18
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_lie_under_the_folder_of_the_file(tmp_path: Path) -> None:
    site = read_site_file(_file(tmp_path, TEXT))
    assert (site.authority, site.key) == (tmp_path / "ca.crt", tmp_path / "keys/a.key")
    assert site.state == Path("/var/lib/site")
    assert site.entry.data_path() == tmp_path / "scans"
    assert site.coordinator == "fl.example.org:8000"


def test_site_with_its_own_file_is_that_client_whatever_the_run_config_says(tmp_path: Path) -> None:
    found = identify({"site-file": str(_file(tmp_path, TEXT))}, {"scenario": "default", "out-dir": "elsewhere"}, 7)
    assert found.entry.name == "hospital-a"
    assert found.is_site
    assert found.state_root == Path("/var/lib/site")


def test_weights_by_name_are_no_path(tmp_path: Path) -> None:
    for word in ("none", "hub"):
        site = read_site_file(_file(tmp_path, TEXT + f"  encoder-weights: {word}\n"))
        assert site.entry.encoder_weights == word
    site = read_site_file(_file(tmp_path, TEXT + "  encoder-weights: w.safetensors\n"))
    assert site.entry.weights_path() == tmp_path / "w.safetensors"


@pytest.mark.parametrize("name", ["../other", "a/b", ".hidden", "two words", "a\\tb", "x" * 65, ""])
def test_name_that_could_become_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match="name"):
        read_site_file(_file(tmp_path, TEXT.replace("hospital-a", f'"{name}"')))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("key: keys/a.key\n", "", "the key 'key' is missing"),
        ("authority: ca.crt", "autority: ca.crt", "site.yaml:2: unknown key 'autority'. Did you mean 'authority'"),
        ("key: keys/a.key", "key: [a, b]", "site.yaml:3: key = "),
        ("state: /var/lib/site", 'state: ""', "site.yaml:4: state = "),
        ("tasks: [semseg]", "tasks: [seeing]", "site.yaml:9: client hospital-a: tasks"),
        ("encoder: resnet18", "encodr: resnet18", "site.yaml:11: unknown key 'encodr'"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_site_file(_file(tmp_path, TEXT.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "- coordinator\n- key\n", TEXT[: TEXT.index("client:")] + "client: hospital-a\n"])
def test_a_file_that_is_no_mapping_is_called_a_sites_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScenarioError, match=naming("site.yaml", "client")) as told:
        read_site_file(_file(tmp_path, text))
    assert "scenario" not in str(told.value)


def test_a_file_that_is_missing_or_unreadable_is_called_a_sites_file(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=naming("site.yaml", "fmtl site init")):
        read_site_file(tmp_path / "site.yaml")
    with pytest.raises(ScenarioError, match=naming("directory")):
        read_site_file(tmp_path)
