"""Every mistake at once."""

from management import check


def test_nothing_set_is_all_well():
    assert check.mistakes({}) == []
    assert check.summary({}).startswith("sites.yaml: 10 sites (5 swallow, 1 gaze, 1 pierce, 3 pirate) in ")


def test_all_mistakes_are_told_at_once_one_for_each_variable(tmp_path):
    file = tmp_path / "sites.yaml"
    file.write_text("sites: {Shop: {method: swim}}\n")

    found = check.mistakes({"PORT": "x", "DATA_SET": "a-b", "LOG_LEVEL": "loud", "SITES_FILE": str(file)})

    assert [line.split("=")[0] for line in found[:3]] == ["PORT", "DATA_SET", "LOG_LEVEL"]
    assert all(line.startswith(str(file)) for line in found[3:])
    assert len(found) >= 6


def test_half_an_emulator_is_a_mistake():
    (line,) = check.mistakes({"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"})

    assert line.startswith("BIGQUERY_STORAGE_EMULATOR_HOST is not set")


def test_missing_sites_file_is_named(tmp_path):
    (line,) = check.mistakes({"SITES_FILE": str(tmp_path / "none.yaml")})

    assert "none.yaml: cannot be read" in line
