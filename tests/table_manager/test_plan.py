"""The plan: what is wanted when, what brings a standing table there, and what is never done to one."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import sites
from oceanus.tables import Column, Naming, Table
from table_manager import plan
from table_manager.plan import AlterTable, CreateDataset, CreateTable, Dataset, Plan

SAMPLE = sites.load(str(sites.SAMPLE))
NAMING = Naming("beacons")
STANDING = Table(
    path="beacons.shop",
    columns=(
        Column("dt", "TIMESTAMP", "REQUIRED", "Time."),
        Column("oid", "STRING", "REQUIRED", "Option."),
        Column("url", "STRING", "NULLABLE", "Address."),
        Column("eid", "STRING", "REQUIRED", "Id."),
    ),
    description="oceanus: shop",
    partition="dt",
    cluster=("oid",),
    expiry_days=90,
    labels={"managed_by": "oceanus"},
)


def column(name: str, **change: str) -> tuple[Column, ...]:
    """Return the columns of STANDING with a change of one."""
    return tuple(replace(one, **change) if one.name == name else one for one in STANDING.columns)


def without(*names: str) -> tuple[Column, ...]:
    return tuple(one for one in STANDING.columns if one.name not in names)


def altered(wanted: Table, standing: Table = STANDING) -> tuple[Table, tuple[str, ...]]:
    """Return the one alteration planned, where nothing is refused."""
    found = plan.for_table(wanted, standing)
    assert found.refusals == ()
    (action,) = found.actions
    assert isinstance(action, AlterTable)
    return action.table, action.changes


# --- what is wanted


@pytest.mark.parametrize(
    ("hour", "days"),
    [(0, ["20261231"]), (11, ["20261231"]), (12, ["20261231", "20270101"]), (23, ["20261231", "20270101"])],
)
def test_a_daily_site_wants_today_s_table_and_from_noon_on_tomorrow_s(hour, days):
    now = datetime(2026, 12, 31, hour, 59, 59, tzinfo=UTC)

    wanted = [one.path for one in plan.wanted([SAMPLE["skj"]], NAMING, now) if "skj" in one.path]

    assert wanted == [f"beacons.skj_{day}" for day in days]


def test_all_sites_both_datasets_and_our_own_tables_are_wanted_datasets_first():
    wanted = plan.wanted(SAMPLE.values(), NAMING, datetime(2026, 11, 22, 9, tzinfo=UTC))

    names = [one.path for one in wanted]
    assert names[:4] == ["beacons", "beacons_failed", "beacons_failed.failed", "beacons.audit"]
    assert names[4:] == [NAMING.path(site, "2026-11-22 09:00:00") for site in SAMPLE.values()]
    assert [type(one) for one in wanted[:3]] == [Dataset, Dataset, Table]


# --- what is not there


def test_a_dataset_is_created_once():
    dataset = Dataset("beacons", "all")

    assert plan.for_dataset(dataset, stands=False) == Plan((CreateDataset(dataset),))
    assert plan.for_dataset(dataset, stands=True) == Plan()


def test_a_table_that_is_not_there_is_created_as_wanted():
    assert plan.for_table(STANDING, None) == Plan((CreateTable(STANDING),))


def test_a_table_that_stands_as_wanted_is_left_alone_whatever_its_id_column():
    assert plan.for_table(replace(STANDING, key="fid"), STANDING) == Plan()


# --- what is altered


def test_new_columns_are_added_at_the_end_nullable():
    wanted = replace(STANDING, columns=(Column("tit"), *STANDING.columns))

    assert altered(wanted) == (
        replace(STANDING, columns=(*STANDING.columns, Column("tit"))),
        ("add column tit STRING",),
    )


def test_a_required_column_becomes_nullable_where_that_is_wanted():
    wanted = replace(STANDING, columns=column("oid", mode="NULLABLE"))

    assert altered(wanted) == (wanted, ("relax column oid to NULLABLE",))


def test_descriptions_of_table_and_columns_are_set():
    wanted = replace(STANDING, columns=column("url", description="New."), description="new")

    assert altered(wanted) == (wanted, ("describe column url", "describe the table"))


def test_a_description_that_is_not_declared_takes_none_away():
    wanted = replace(STANDING, columns=column("url", description=""), description="")

    assert plan.for_table(wanted, STANDING) == Plan()


TAG = "projects/p/locations/eu/taxonomies/1/policyTags/2"


def test_a_policy_tag_is_set_on_new_columns_and_on_those_that_stand():
    wanted = replace(STANDING, columns=(*column("url", policy_tag=TAG), Column("tel", policy_tag=TAG)))

    assert altered(wanted) == (wanted, (f"tag column url with {TAG}", "add column tel STRING"))
    assert plan.for_table(wanted, wanted) == Plan()


def test_a_policy_tag_that_is_not_declared_any_more_stays_until_a_person_takes_it_off():
    standing = replace(STANDING, columns=column("url", policy_tag=TAG))

    assert plan.for_table(STANDING, standing) == Plan()


def test_labels_are_set_and_others_kept():
    wanted = replace(STANDING, labels={"site": "shop"})

    assert altered(wanted) == (
        replace(STANDING, labels={"managed_by": "oceanus", "site": "shop"}),
        ("label it site=shop",),
    )


@pytest.mark.parametrize(("cluster", "words"), [(("url", "oid"), "clustered by url, oid"), ((), "clustered no more")])
def test_clustering_is_what_the_site_says(cluster, words):
    wanted = replace(STANDING, cluster=cluster)

    assert altered(wanted) == (wanted, (words,))


@pytest.mark.parametrize(
    ("days", "words"), [(9, "let partitions expire after 9 days"), (None, "let partitions expire no more")]
)
def test_the_expiry_of_partitions_is_what_the_site_says(days, words):
    wanted = replace(STANDING, expiry_days=days)

    assert altered(wanted) == (wanted, (words,))


# --- what is refused


def test_a_column_that_is_declared_no_more_is_kept_in_its_place():
    found = plan.for_table(replace(STANDING, columns=without("url")), STANDING)

    assert found == Plan((), ("beacons.shop: column url is declared no more: no column is dropped",))


def test_a_required_column_that_no_field_fills_any_more_is_relaxed_or_no_record_would_fit():
    found = plan.for_table(replace(STANDING, columns=without("eid")), STANDING)

    assert found == Plan(
        (
            AlterTable(
                replace(STANDING, columns=column("eid", mode="NULLABLE")),
                ("relax column eid to NULLABLE, as no field fills it",),
            ),
        ),
        ("beacons.shop: column eid is declared no more: no column is dropped",),
    )


def test_no_type_is_changed():
    found = plan.for_table(replace(STANDING, columns=column("url", type="JSON", mode="NULLABLE")), STANDING)

    sentence = "column url is STRING, not JSON: no type is changed; give the field another name"
    assert found == Plan((), (f"beacons.shop: {sentence}",))


@pytest.mark.parametrize(
    ("there", "wished"), [("NULLABLE", "REQUIRED"), ("REPEATED", "NULLABLE"), ("REPEATED", "REQUIRED")]
)
def test_no_mode_is_narrowed(there, wished):
    standing = replace(STANDING, columns=column("eid", mode=there))

    found = plan.for_table(replace(STANDING, columns=column("eid", mode=wished)), standing)

    sentence = f"column eid is {there}, not {wished}: a table that stands is given no narrower column"
    assert found == Plan((), (f"beacons.shop: {sentence}",))


def test_a_required_column_is_added_nullable_and_that_is_told_once():
    wanted = replace(STANDING, columns=(*STANDING.columns, Column("uid", "STRING", "REQUIRED")))
    nullable = replace(STANDING, columns=(*STANDING.columns, Column("uid")))

    first = plan.for_table(wanted, STANDING)
    second = plan.for_table(wanted, nullable)

    assert first.actions == (AlterTable(nullable, ("add column uid STRING",)),)
    assert second == Plan((), first.refusals)
    assert len(first.refusals) == 1


@pytest.mark.parametrize(
    ("there", "wished", "words"),
    [
        ("dt", None, "is partitioned by dt, not unpartitioned"),
        (None, "dt", "is unpartitioned, not partitioned by dt"),
        ("_PARTITIONTIME", "dt", "is partitioned by _PARTITIONTIME, not partitioned by dt"),
    ],
)
def test_no_partitioning_is_changed_and_the_expiry_of_another_one_left_alone(there, wished, words):
    standing = replace(STANDING, partition=there, expiry_days=None)

    found = plan.for_table(replace(STANDING, partition=wished, expiry_days=9 if wished else None), standing)

    sentence = f"beacons.shop: {words}: no partitioning is changed; give the site another table name"
    assert found == Plan((), (sentence,))


def test_a_table_is_not_clustered_by_a_column_that_stands_with_another_type():
    standing = replace(STANDING, columns=column("url", type="JSON"))

    found = plan.for_table(replace(STANDING, cluster=("url",)), standing)

    assert found.actions == ()
    assert found.refusals[1] == "beacons.shop: is not clustered by url: of another type than declared: url"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (CreateDataset(Dataset("beacons", "all")), "create dataset beacons"),
        (CreateTable(STANDING), "create table beacons.shop: 4 columns, a partition a day of dt, clustered by oid"),
        (CreateTable(Table(path="d.t", columns=(), description="")), "create table d.t: 0 columns"),
        (AlterTable(STANDING, ("add column a STRING", "b")), "alter table beacons.shop: add column a STRING; b"),
    ],
)
def test_an_action_says_itself_in_words(action, words):
    assert str(action) == words


# --- for any two tables

NAMES = ["dt", "oid", "url", "eid", "jsn"]
COLUMNS = st.lists(
    st.builds(
        Column,
        st.sampled_from(NAMES),
        st.sampled_from(["STRING", "JSON", "TIMESTAMP"]),
        st.sampled_from(["NULLABLE", "REQUIRED"]) | st.just("REPEATED"),
        st.sampled_from(["", "a", "b"]),
    ),
    unique_by=lambda one: one.name,
).map(tuple)
TABLES = st.builds(
    Table,
    path=st.just("d.t"),
    columns=COLUMNS,
    description=st.sampled_from(["", "a", "b"]),
    partition=st.sampled_from([None, "dt", "_PARTITIONTIME"]),
    cluster=st.lists(st.sampled_from(NAMES), unique=True, max_size=4).map(tuple),
    expiry_days=st.none() | st.integers(1, 3),
    labels=st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")),
)


def applied(found: Plan, standing: Table | None) -> Table | None:
    for action in found.actions:
        standing = action.table
    return standing


@given(TABLES, st.none() | TABLES)
def test_a_second_round_does_nothing_and_tells_nothing_new(wanted, standing):
    first = plan.for_table(wanted, standing)
    after = applied(first, standing)

    second = plan.for_table(wanted, after)

    assert second.actions == ()
    assert standing is None or second.refusals == first.refusals


@given(TABLES, TABLES)
def test_nothing_is_dropped_moved_or_narrowed(wanted, standing):
    after = applied(plan.for_table(wanted, standing), standing)

    kept = after.columns[: len(standing.columns)]
    assert [(one.name, one.type) for one in kept] == [(one.name, one.type) for one in standing.columns]
    assert all(new.mode in (old.mode, "NULLABLE") for new, old in zip(kept, standing.columns, strict=True))
    assert all(
        (new.mode == "REPEATED") == (old.mode == "REPEATED") for new, old in zip(kept, standing.columns, strict=True)
    )
    assert "REQUIRED" not in {one.mode for one in after.columns[len(standing.columns) :]}
    assert standing.labels.keys() <= after.labels.keys()
    assert after.partition == standing.partition


@given(TABLES, TABLES)
def test_every_wanted_column_stands_afterwards_and_every_difference_is_told(wanted, standing):
    found = plan.for_table(wanted, standing)
    after = applied(found, standing)

    by_name = {one.name: one for one in after.columns}
    told = " ".join(found.refusals)
    assert {one.name for one in wanted.columns} <= by_name.keys()
    for one in wanted.columns:
        same = (by_name[one.name].type, by_name[one.name].mode) == (one.type, one.mode)
        assert same or f"column {one.name} is" in told


@given(TABLES, TABLES)
def test_what_is_altered_is_said(wanted, standing):
    found = plan.for_table(wanted, standing)

    assert all(action.changes and action.table != standing for action in found.actions)
