"""The IAM roles of k8s/iam hold what each process calls, as it stands in its code, and nothing beside."""

import re
from inspect import getmembers, isfunction

import pytest
import yaml

from management import doctor
from oceanus.warehouse import Catalog, Queries, Writer
from tests.k8s.rendered import K8S, TOP

ASKED = {"bigquery.jobs.create", "bigquery.tables.getData"}
WRITTEN = {"bigquery.tables.updateData"}
# What each call of ours needs: cloud.google.com/bigquery/docs/access-control
NEEDS = {
    "catalog.has_dataset": {"bigquery.datasets.get"},
    "catalog.create_dataset": {"bigquery.datasets.create"},
    "catalog.find": {"bigquery.tables.get"},
    "catalog.create": {"bigquery.tables.create"},
    "catalog.alter": {"bigquery.tables.get", "bigquery.tables.update"},
    "queries.select": ASKED,
    "queries.landed": ASKED,
    "queries.count": ASKED,
    "queries.epochs": ASKED,
    "writer.create_stream": WRITTEN,
    "writer.write": WRITTEN,
    "writer.finalize": WRITTEN,
    "writer.request": set(),  # makes what is sent, and sends nothing
}
CHECK = {"bigquery.datasets.get"}  # oceanus.warehouse.clients.check, at a start
# Beside its own folder: table_manager audits.
SOURCES = {"r2bq": ["r2bq"], "table_manager": ["table_manager", "oceanus/auditor.py"], "revelation": ["revelation"]}


def permissions(role: str) -> set[str]:
    """Return the permissions of a role."""
    return set(yaml.safe_load((K8S / "iam" / f"{role}.yaml").read_text(encoding="utf-8"))["includedPermissions"])


def calls(process: str) -> set[str]:
    """Return the permissions that the calls in a process's code need."""
    files = [TOP / one for one in SOURCES[process]]
    texts = [
        one.read_text(encoding="utf-8") for file in files for one in (file.rglob("*.py") if file.is_dir() else [file])
    ]
    called = {call for text in texts for call in re.findall(r"\b_?((?:catalog|queries|writer)\.\w+)\b", text)}
    needed = [NEEDS[call] for call in called & NEEDS.keys()]
    checked = [CHECK] if any(re.search(r"\bcheck\(clients", text) for text in texts) else []
    return set().union(*needed, *checked)


def test_each_call_to_bigquery_is_known_here():
    parts = {"catalog": Catalog, "queries": Queries, "writer": Writer}
    methods = {
        f"{name}.{method}"
        for name, part in parts.items()
        for method, _ in getmembers(part, isfunction)
        if method[0] != "_"
    }

    assert methods == set(NEEDS)


@pytest.mark.parametrize(
    ("process", "roles"),
    [
        ("r2bq", ["r2bq", "r2bq_day_tables"]),
        ("table_manager", ["table_manager"]),
        ("revelation", ["revelation"]),
    ],
)
def test_a_process_may_do_what_it_calls_and_nothing_else(process, roles):
    assert set().union(*map(permissions, roles)) == calls(process)


def test_r2bq_makes_no_table_where_no_site_has_one_for_each_day():
    assert permissions("r2bq_day_tables") == {"bigquery.tables.create", "bigquery.tables.update"}
    assert not permissions("r2bq") & permissions("r2bq_day_tables")


@pytest.mark.parametrize("role", ["reader", "revelation"])
def test_who_reads_only_reads(role):
    verbs = {one.rpartition(".")[2] for one in permissions(role) - {"bigquery.jobs.create"}}

    assert verbs <= {"get", "getData", "list"}


def test_a_reader_may_do_what_oceanus_sql_calls():
    assert permissions("reader") >= ASKED | CHECK


@pytest.mark.parametrize("file", sorted((K8S / "iam").iterdir()), ids=lambda file: file.stem)
def test_a_role_says_how_it_is_made(file):
    text = file.read_text(encoding="utf-8")

    assert f'gcloud iam roles create oceanus_{file.stem} --project "$PROJECT_ID" --file k8s/iam/{file.name}' in text
    assert yaml.safe_load(text).keys() == {"title", "description", "stage", "includedPermissions"}


@pytest.mark.parametrize("process", sorted(SOURCES))
def test_the_doctor_asks_for_what_the_roles_give(process):
    assert set(doctor.PERMISSIONS[process]) | CHECK == permissions(process) | CHECK


def test_the_doctor_asks_for_what_day_tables_need():
    assert set(doctor.DAILY) == permissions("r2bq_day_tables")
