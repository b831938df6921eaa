"""Each process as its manifest starts it: that environment and nothing else; asked by its probes, and stopped."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from management import parts
from tests.conftest import RedisProcess, Warehouse, end, is_ok, until
from tests.k8s.rendered import K8S, PROCESSES, Workload, dns

LOCAL = K8S / "overlays" / "local"


def environ(one: Workload, folder: Path, redis: RedisProcess, warehouse: Warehouse) -> dict[str, str]:
    """Return the environment of a manifest, with its files, services and port those of this machine."""
    files = {"SITES_FILE": LOCAL / "sites.yaml", "ALERTS_FILE": LOCAL / "alerts.yaml", "JOURNAL_DIR": folder}
    here = {name: str(path) for name, path in files.items()} | redis.environ | warehouse.environ
    told = {name: value for name, value in one.environ().items() if value != "secret"}
    read = here.keys() & (told.keys() | {"REDIS_PD_SERVICE_PORT"})
    return {"PATH": "/usr/bin:/bin", **told, **{name: here[name] for name in read}, "PORT": str(parts.free_port())}


@pytest.mark.local
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_runs_with_the_environment_of_its_manifest_answers_its_probes_and_stops(
    process: str, tmp_path: Path, redis_server: RedisProcess, warehouse: Warehouse
) -> None:
    one = Workload("local", dns(process))
    told = environ(one, tmp_path, redis_server, warehouse)
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([sys.executable, "-m", process], env=told, stdout=log, stderr=log)
    try:
        for kind in ("startup", "liveness", "readiness"):
            path = one.container[f"{kind}Probe"]["httpGet"]["path"]
            until(lambda path=path: is_ok(f"http://127.0.0.1:{told['PORT']}{path}") or running.poll() is not None)
            assert running.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
        running.send_signal(signal.SIGTERM)
        code = running.wait(one.pod["terminationGracePeriodSeconds"])
    finally:
        end(running)

    assert code == 0
