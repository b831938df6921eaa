"""sites.yaml is read as it says; each mistake in it is one line that names file, place and remedy."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanus import schema, sites
from oceanus.errors import MisconfiguredError

SHAPES = """
shapes:
  short:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      oid: {from: query, rule: {type: string, required: true}, mode: REQUIRED}
      ua: {from: "header:User-Agent"}
"""
SITES = """
sites:
  shop: {method: swallow, shape: short}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(MisconfiguredError) as caught:
        sites.parse(text, "my.yaml")
    return caught.value.mistakes


def with_field(body: str, name: str = "one") -> str:
    return f"{SHAPES}      {name}: {body}\n{SITES}"


def with_site(body: str) -> str:
    return f"{SHAPES}\nsites:\n  shop: {{method: swallow, shape: short, {body}}}\n"


def test_the_sample_keeps_the_original_s_sites_methods_and_batch_sizes():
    loaded = sites.load(str(sites.SAMPLE))

    assert {name: (site.method, site.batch.rows) for name, site in loaded.items()} == {
        "bizocean": ("swallow", 50),
        "skj": ("swallow", 25),
        "bizpow": ("swallow", 25),
        "moneynext": ("swallow", 25),
        "thedeepones": ("swallow", 21),
        "movieform": ("pirate", 1),
        "namecard": ("pirate", 1),
        "docreq": ("pirate", 1),
        "mailaction": ("gaze", 1),
        "shortener": ("pierce", 1),
    }


def test_the_sample_s_sites_have_day_partitioned_tables_of_their_names_but_for_skj():
    loaded = sites.load(str(sites.SAMPLE))

    assert [site.table.name for site in loaded.values()] == list(loaded)
    assert [site.name for site in loaded.values() if site.table.form == "daily"] == ["skj"]


def test_the_sample_writes_every_second_takes_any_origin_and_describes_every_field():
    loaded = sites.load(str(sites.SAMPLE)).values()

    assert {site.batch.seconds for site in loaded} == {1.0}
    assert {site.origins for site in loaded} == {sites.Origins(allow=frozenset(), enforce=False)}
    assert {site.name for site in loaded if site.callers == "any"} == {"shortener"}
    assert [field.name for site in loaded for field in site.fields if not field.description] == []


def test_no_site_in_the_path_means_the_first_of_that_method():
    loaded = sites.load(str(sites.SAMPLE))

    assert [getattr(loaded.first(method), "name", None) for method in (*schema.METHODS, "other")] == [
        "bizocean",
        "mailaction",
        "shortener",
        "movieform",
        None,
    ]


def test_what_a_site_leaves_out_has_a_default():
    shop = sites.parse(SHAPES + SITES)["shop"]

    assert (shop.batch, shop.table) == (
        sites.Batch(rows=50, seconds=1.0),
        sites.TableForm(name="shop", form="partitioned", cluster=(), expiry_days=None),
    )
    assert shop.privacy == sites.Privacy(policy="keep", consent=None, mask=None)
    assert (shop.unknown, shop.alerts, shop.cookie_domain, shop.callers) == (None, False, None, "token")
    assert shop.tracker == sites.Tracker(script="core", path=None, endpoint=None, cookie="script", redirect=())
    assert (shop.daily_cap, {field.policy_tag for field in shop.fields}) == (None, {""})


def test_a_shape_that_extends_another_gives_only_what_differs():
    longer = "  long: {extends: short, fields: {oid: {rule: {default: x}}, tit: {from: query}}}\n"
    loaded = sites.parse(SHAPES + longer + "sites: {shop: {method: gaze, shape: long}}")

    fields = {field.name: (field.source, field.mode, dict(field.rule)) for field in loaded["shop"].fields}

    assert fields == {
        "dt": ("clock", "REQUIRED", {}),
        "oid": ("query", "REQUIRED", {"default": "x"}),
        "ua": ("header", "NULLABLE", {}),
        "tit": ("query", "NULLABLE", {}),
    }


FIELD_MISTAKES = {
    "{from: moon}": "from: 'moon' is not one of query, form, header:NAME, clock, address or device:FIELD",
    "{}": "from: None is not one of query",
    "{from: header}": "from: 'header' is not one of query",
    "{from: query:x}": "from: 'query:x' is not one of query",
    "{from: query, colour: red}": "'colour' is not known here; known: anonymous, description, from,",
    "{from: query, type: NUMERIC}": "type: 'NUMERIC' is not known; choose one of STRING, TIMESTAMP, JSON,",
    "{from: query, type: [STRING]}": "type: ['STRING'] is not known; choose one of",
    "{from: query, type: INT64}": "type: INT64 needs the step integer in normal",
    "{from: query, type: TIMESTAMP}": "type: TIMESTAMP is for from: clock",
    "{from: query, mode: REPEATED}": "mode: 'REPEATED' is not known; choose one of NULLABLE, REQUIRED",
    "{from: query, mode: REQUIRED}": "mode: REQUIRED needs required: true or a default in its rule",
    "{from: query, normal: [shout]}": "normal: shout is not one of lower, upper,",
    "{from: query, normal: [{cut: 0}]}": "normal: cut needs a number of characters, such as {cut: 512}",
    "{from: query, normal: lower}": "normal: must be a list of steps, such as [lower, {cut: 512}]",
    "{from: query, normal: 5}": "normal: must be a list of steps, such as [lower, {cut: 512}]",
    "{from: query, description: 5}": "description: 5 must be a text",
    "{from: query, anonymous: maybe}": "anonymous: 'maybe' is not known; choose one of keep, blank, cut",
    "{from: query, anonymous: cut}": "anonymous: cut is for addresses",
    "{from: 'device:agent'}": "from: device:agent needs that field above it",
    "{from: query, rule: {maxlength: many}}": "rule: Cerberus does not take it:",
    "{from: query, rule: {regex: '('}}": "rule: Cerberus does not take it:",
    "{from: query, rule: {anything: 1}}": "rule: Cerberus does not take it:",
    "{from: query, rule: {type: string, max: 50}}": "rule: max says nothing of a string: use maxlength",
    "{from: query, rule: {max: 1e6}}": "rule: max: '1e6' is no number",
    "{from: query, rule: {type: integer, maxlength: 3}}": "rule: maxlength says nothing of a value of type integer",
    "{from: query, rule: {nullable: true}}": "rule: nullable would change the record behind its column",
    "{from: query, rule: {rename: two}}": "rule: rename would change the record behind its column",
    "{from: query, rule: {default: 5}}": "rule: default 5 is no STRING",
    "{from: query, type: INT64, normal: [integer], rule: {default: '0'}}": "rule: default '0' is no INT64",
    "{from: query, type: JSON, normal: [json], rule: {default: oops}}": "rule: default 'oops' is no JSON",
    "{from: query, policy_tag: pii}": "policy_tag: 'pii' must be named as projects/PROJECT/locations/",
    "{from: query, normal: [integer]}": "normal: integer makes a value of type INT64, and the column is STRING",
}


@pytest.mark.parametrize("body", FIELD_MISTAKES)
def test_a_mistake_in_a_field_is_one_line_with_file_shape_field_and_remedy(body):
    found = mistakes(with_field(body))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: shape short, field one: {FIELD_MISTAKES[body]}")


def test_the_time_that_the_audit_counts_by_is_not_hidden():
    tag = "projects/p/locations/eu/taxonomies/1/policyTags/2"
    found = mistakes((SHAPES + SITES).replace("mode: REQUIRED}", f"mode: REQUIRED, policy_tag: {tag}}}", 1))

    assert len(found) == 1
    assert "field dt: policy_tag: dt is what tables are divided by" in found[0]


@pytest.mark.parametrize("name", ["debug", "cid", "re", "v", "eid"])
def test_a_field_may_not_take_a_name_that_means_something_to_arms(name):
    found = mistakes(with_field("{from: query}", name))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: shape short, field {name}: this name is taken")


def test_a_field_may_not_take_a_name_that_bigquery_keeps_to_itself():
    found = mistakes(with_field("{from: query}", "_partitiontime"))

    assert len(found) == 1
    assert "BigQuery keeps names that begin with" in found[0]


@pytest.mark.parametrize("name", ["Upper", "with-dash", "1st", "5", "a" * 65])
def test_a_field_s_name_must_do_as_a_column_s(name):
    found = mistakes(with_field("{from: query}", name))

    assert len(found) == 1
    assert "a field's name is a column's" in found[0]


SITE_MISTAKES = {
    "colour: red": ("", "'colour' is not known here; known: alerts, batch,"),
    "batch: {rows: 0}": (", batch", "rows: 0 must be a whole number of at least 1"),
    "batch: {seconds: 0}": (", batch", "seconds: 0 must be a number above 0, at most 3600"),
    "batch: 5": (", batch", "must be a mapping (key: value), not 5"),
    "table: {form: hourly}": (", table", "form: 'hourly' is not known; choose one of partitioned, daily"),
    "table: {form: daily, expiry_days: 3}": (", table", "expiry_days: is for form: partitioned"),
    "table: {name: a-b}": (", table", "name: 'a-b' must be letters, digits and underscores"),
    "table: {cluster: [nothing]}": (", table", "cluster: ['nothing'] must be up to 4 different fields of the shape"),
    "table: {cluster: [oid, oid]}": (", table", "cluster: ['oid', 'oid'] must be up to 4 different fields"),
    "table: {expiry_days: 99999}": (", table", "expiry_days: 99999 must be a whole number of days"),
    "table: {cluster: oid}": (", table", "cluster: 'oid' must be up to 4 different fields of the shape"),
    "table: {expiry_days: 0}": (", table", "expiry_days: 0 must be a whole number of days, at least 1"),
    "table: {name: audit}": ("", "table audit is oceanus's own: give it another table name"),
    "origins: {allow: [example.com]}": (
        ", origins",
        "allow: must be a list of origins such as https://www.example.com",
    ),
    "origins: {enforce: true}": (", origins", "enforce: true would refuse every page: list some in allow"),
    "privacy: {policy: guess}": (", privacy", "policy: 'guess' is not known; choose one of keep, anonymous, drop"),
    "privacy: {mask: token}": (", privacy", "mask: must be a list of query parameters"),
    "privacy: {consent: 1}": (", privacy", "consent: 1 must be the name of a query parameter"),
    "unknown: oid": ("", "unknown: oid is a field already; give the column another name"),
    "unknown: eid": ("", "unknown: eid is a field already; give the column another name"),
    "unknown: 'no column'": ("", "unknown: 'no column' must be the name of a JSON column"),
    "alerts: often": ("", "alerts: 'often' must be true or false"),
    "daily_cap: 0": ("", "daily_cap: 0 must be a whole number of beacons, at least 1"),
    "callers: some": ("", "callers: 'some' is not known; choose one of token, any"),
    'cookie_domain: "a.example; HttpOnly"': ("", "cookie_domain: 'a.example; HttpOnly' must be a domain such as"),
    "tracker: /a.js": (", tracker", "must be a mapping (key: value), not '/a.js'"),
    "tracker: {src: /a.js}": (", tracker", "'src' is not known here; known: cookie, endpoint, path, redirect, script"),
    "tracker: {path: a.js}": (", tracker", "path: 'a.js' must be a path such as /a/b.js: letters, digits,"),
    "tracker: {path: /a}": (", tracker", "path: '/a' must be a path such as /a/b.js"),
    "tracker: {path: /a//b.js}": (", tracker", "path: '/a//b.js' must be a path such as /a/b.js"),
    "tracker: {path: /a/../b.js}": (", tracker", "path: '/a/../b.js' must be a path such as /a/b.js"),
    "tracker: {path: '/{a}.js'}": (", tracker", "path: '/{a}.js' must be a path such as /a/b.js"),
    "tracker: {path: /static/js/a.js}": (", tracker", "path: '/static/js/a.js' must be a path such as /a/b.js"),
    "tracker: {endpoint: /}": (", tracker", "endpoint: '/' must be a path such as /x"),
    "tracker: {endpoint: /x/}": (", tracker", "endpoint: '/x/' must be a path such as /x"),
    "tracker: {endpoint: /metrics}": (", tracker", "endpoint: '/metrics' must be a path such as /x"),
    "tracker: {path: /a.js, endpoint: /a.js}": (", tracker", "endpoint: /a.js is that of the swallow core"),
    "tracker: {script: okeanides.js}": (", tracker", "script: 'okeanides.js' is not known; choose one of core, full"),
    "tracker: {cookie: server}": (", tracker", "cookie: 'server' is not known; choose one of script, arms, none"),
    "tracker: {cookie: arms}, cookie_domain: a.example, origins: {allow: ['https://a.example']}": (
        ", tracker",
        "cookie: arms needs a field sid in the shape",
    ),
    "tracker: {redirect: ['shop.example:8080']}": (", tracker", "redirect: must be a list of hosts such as"),
    "tracker: {redirect: shop.example}": (", tracker", "redirect: must be a list of hosts such as www.shop.example"),
    "tracker: {redirect: ['https://shop.example']}": (", tracker", "redirect: must be a list of hosts such as"),
}


def test_a_cookie_of_arms_needs_a_domain_and_pages_that_share_it():
    shapes = SHAPES.replace("      oid:", "      sid: {from: query}\n      oid:")

    found = mistakes(f"{shapes}\nsites:\n  shop: {{method: swallow, shape: short, tracker: {{cookie: arms}}}}")

    assert [line.removeprefix("my.yaml: site shop, tracker: cookie: arms needs the site's ") for line in found] == [
        "cookie_domain: pages and arms share the cookie by it",
        "origins, allow: browsers send cookies to who lists the page",
    ]


@pytest.mark.parametrize("method", ["gaze", "pierce"])
def test_a_tracker_is_for_sites_to_which_a_script_sends(method):
    found = mistakes(f"{SHAPES}\nsites: {{shop: {{method: {method}, shape: short, tracker: {{endpoint: /x}}}}}}")

    assert found == [
        "my.yaml: site shop, tracker: is for sites of method swallow and pirate, whose beacons a script sends"
    ]


def test_redirects_are_for_sites_to_which_the_page_sends():
    found = mistakes(f"{SHAPES}\nsites: {{shop: {{method: pirate, shape: short, tracker: {{redirect: [a.example]}}}}}}")

    assert found == [
        "my.yaml: site shop, tracker: redirect: is for sites of method swallow, to which redirect.html sends"
    ]


def test_there_is_one_script_for_forms():
    found = mistakes(f"{SHAPES}\nsites: {{shop: {{method: pirate, shape: short, tracker: {{script: full}}}}}}")

    assert found == [
        "my.yaml: site shop, tracker: script: full is for sites of method swallow; there is one script for forms"
    ]


def test_a_redirect_s_host_is_written_as_browsers_write_it():
    shop = sites.parse(with_site("tracker: {redirect: [Shop.example, .shop.example, 127.0.0.1]}"))["shop"]

    assert shop.tracker.redirect == ("shop.example", ".shop.example", "127.0.0.1")


def test_sites_may_share_a_script_s_path_but_no_endpoint():
    tracked = "  {}: {{method: {}, shape: short, tracker: {{path: /a/b.js, endpoint: {}}}}}\n"
    one, two = tracked.format("one", "swallow", "/x"), tracked.format("two", "swallow", "/y")

    loaded = sites.parse(f"{SHAPES}\nsites:\n{one}{two}")

    assert loaded["two"].tracker == sites.Tracker(
        script="core", path="/a/b.js", endpoint="/y", cookie="script", redirect=()
    )
    assert mistakes(f"{SHAPES}\nsites:\n{one}{two.replace('/y', '/x')}") == [
        "my.yaml: site two, tracker: endpoint: /x is site one's endpoint: give it another path"
    ]
    assert mistakes(f"{SHAPES}\nsites:\n{one}{two.replace('swallow', 'pirate')}") == [
        "my.yaml: site one, tracker: path: /a/b.js is that of the pirate core script: give it another path"
    ]
    assert mistakes(f"{SHAPES}\nsites:\n{one}{two.replace('path', 'script: full, path')}") == [
        "my.yaml: site one, tracker: path: /a/b.js is that of the swallow full script: give it another path"
    ]


@pytest.mark.parametrize("body", SITE_MISTAKES)
def test_a_mistake_in_a_site_is_one_line_with_file_site_and_remedy(body):
    place, sentence = SITE_MISTAKES[body]

    found = mistakes(with_site(body))

    assert len(found) == 1
    assert found[0].startswith(f"my.yaml: site shop{place}: {sentence}")


WHOLE_MISTAKES = {
    "": "my.yaml: sites: is empty: declare at least one site",
    "[]": "my.yaml: must be a mapping (key: value), not []",
    "{": "my.yaml: is not YAML: ",
    "a: 2026-13-45": "my.yaml: is not YAML: ",
    "sites: {}\nsites: {}": "my.yaml: is not YAML: 'sites' is given twice",
    "other: 1\n" + SHAPES + SITES: "my.yaml: 'other' is not known here; known: shapes, sites",
    SHAPES + "sites: {Shop: {method: swallow, shape: short}}": "my.yaml: site Shop: a site's name is small letters",
    SHAPES + "sites: {shop: {shape: short}}": "my.yaml: site shop: method: is missing; choose one of swallow,",
    SHAPES + "sites: {shop: {method: eat, shape: short}}": "my.yaml: site shop: method: 'eat' is not known",
    SHAPES + "sites: {shop: {method: gaze}}": "my.yaml: site shop: shape: None is not one of short",
    SHAPES + SITES + "  shop: {method: gaze, shape: short}": "my.yaml: is not YAML: 'shop' is given twice",
    SHAPES
    + SITES
    + "  two: {method: gaze, shape: short, table: {name: SHOP}}": "my.yaml: site two: table SHOP is site",
    SHAPES + "  two: {extends: three}\n" + SITES: "my.yaml: shape two: extends: 'three' is no other",
    SHAPES + "  two: {extends: [short]}\n" + SITES: "my.yaml: shape two: extends: ['short'] is no other shape",
    "shapes: {b: {fields: {a: {from: query}}}}\nsites: {a: {method: gaze, shape: b}}": "my.yaml: shape b: needs a",
}


@pytest.mark.parametrize("text", WHOLE_MISTAKES)
def test_a_mistake_in_the_file_s_frame_is_one_line(text):
    found = mistakes(text)

    assert found[0].startswith(WHOLE_MISTAKES[text])
    assert len([line for line in found if "\n" not in line]) == len(found)


def test_shapes_that_extend_each_other_are_a_mistake_and_no_endless_loop():
    found = mistakes(SHAPES + "  a: {extends: b}\n  b: {extends: a}\n" + SITES)

    assert "my.yaml: shape b: extends: 'a' is no other shape of this file" in found


def test_all_mistakes_are_told_at_once():
    found = mistakes(with_field("{from: moon}") + "  two: {method: eat, shape: none}\n")

    assert [line.split(": ")[1] for line in found] == ["shape short, field one", "site two", "site two"]


def test_a_file_that_cannot_be_read_is_one_line_that_names_the_variable(tmp_path):
    missing = tmp_path / "none.yaml"

    with pytest.raises(MisconfiguredError) as caught:
        sites.load(str(missing))

    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{missing}: cannot be read: ")
    assert caught.value.mistakes[0].endswith("set SITES_FILE to your sites.yaml")


WORDS = sorted(
    {
        "shapes",
        "sites",
        "fields",
        "from",
        "normal",
        "rule",
        "type",
        "mode",
        "description",
        "anonymous",
        "extends",
        "batch",
    }
    | {"table", "origins", "privacy", "unknown", "alerts", "method", "shape", "rows", "seconds", "allow", "enforce"}
    | {
        "cluster",
        "name",
        "dt",
        "clock",
        "query",
        "swallow",
        "cut",
        "remove",
        "JSON",
        "json",
        "regex",
        "required",
        "schema",
    }
    | {"coerce", "default", "check_with", "allowed", "anyof", "device:dt", "mask", "policy", "form", "short", "shop"}
    | {"tracker", "path", "endpoint", "cookie", "redirect", "arms", "/x.js"}
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
KEYS = st.sampled_from(WORDS) | st.integers() | st.none() | st.text(max_size=3)
DOCUMENTS = st.recursive(
    SCALARS, lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(KEYS, deeper, max_size=5)
)


def never_raises_anything_else(text: str) -> None:
    told = ["sites.yaml: nothing"]
    try:
        sites.parse(text)
    except MisconfiguredError as exc:
        told = exc.mistakes
    assert told
    assert all("\n" not in line and line.startswith("sites.yaml: ") for line in told)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60) | DOCUMENTS.map(lambda document: yaml.safe_dump(document, allow_unicode=True)))
def test_any_text_is_sites_or_a_list_of_mistakes(text):
    never_raises_anything_else(text)


@settings(deadline=None, max_examples=300)
@given(field=DOCUMENTS, key=st.sampled_from(["from", "normal", "rule", "type", "mode", "description", "anonymous"]))
def test_any_value_in_a_field_is_taken_or_a_mistake(field, key):
    document = yaml.safe_load(SHAPES + SITES)
    document["shapes"]["short"]["fields"]["one"] = {"from": "query", key: field}

    never_raises_anything_else(yaml.safe_dump(document))


@settings(deadline=None, max_examples=300)
@given(
    rule=st.dictionaries(
        st.sampled_from(
            ["type", "regex", "allowed", "default", "anyof", "schema", "coerce", "check_with", "required", "min"]
        ),
        DOCUMENTS,
        max_size=3,
    )
)
def test_any_rule_is_taken_or_a_mistake(rule):
    document = yaml.safe_load(SHAPES + SITES)
    document["shapes"]["short"]["fields"]["one"] = {"from": "query", "rule": rule}

    never_raises_anything_else(yaml.safe_dump(document))


@settings(deadline=None, max_examples=300)
@given(
    site=DOCUMENTS,
    key=st.sampled_from(["method", "shape", "batch", "table", "origins", "privacy", "unknown", "alerts", "callers"]),
)
def test_any_value_in_a_site_is_taken_or_a_mistake(site, key):
    document = yaml.safe_load(SHAPES + SITES)
    document["sites"]["shop"][key] = site

    never_raises_anything_else(yaml.safe_dump(document))


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, "&a [*a]", "shapes: &a {fields: *a, x: *a}", "? [1]\n: 2", "!!int x", "a: \x00"]
)
def test_odd_yaml_is_a_list_of_mistakes(text):
    assert mistakes(text)
