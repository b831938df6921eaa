"""The manifests are what the API servers take, as far as their schemas can be had here."""

import pytest

from tests.conftest import absent
from tests.k8s.rendered import OVERLAYS, of_kind, overlay

# The oldest release that the manifests are written for, and the newest whose schemas are known.
RELEASES = ("1.30", "1.33", "1.37")
# Whose schemas nobody publishes as a package: these are read by eye, and by a cluster (docs/gke.md).
UNKNOWN = {
    "gateway.networking.k8s.io/v1",
    "networking.gke.io/v1",
    "monitoring.googleapis.com/v1",
    "snapshot.storage.k8s.io/v1",
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_manifest_fits_the_schema_of_its_kind_and_names_nothing_unknown(name, release):
    try:
        import kubernetes_validate  # noqa: PLC0415 - it may be absent
    except ImportError:
        absent("kubernetes-validate")

    for one in overlay(name):
        if one["apiVersion"] not in UNKNOWN | {"keda.sh/v1alpha1"}:
            kubernetes_validate.validate(one, release, strict=True)


def test_what_cannot_be_validated_is_no_more_than_is_known():
    groups = {one["apiVersion"] for name in OVERLAYS for one in overlay(name) if "." in one["apiVersion"]}
    built_in = {one for one in groups if one.partition("/")[0].endswith(".k8s.io")} - UNKNOWN

    assert groups - built_in - {"keda.sh/v1alpha1"} == UNKNOWN


def test_kedas_objects_fit_its_models_and_hold_nothing_that_these_do_not_know():
    try:
        from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication  # noqa: PLC0415
    except ImportError:
        absent("cloudcoil-models-keda")
    manifests = overlay("gke-keda")

    for model, kind in ((ScaledObject, "ScaledObject"), (TriggerAuthentication, "TriggerAuthentication")):
        for manifest in of_kind(manifests, kind).values():
            read = model.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
            assert read["spec"] == manifest["spec"]
