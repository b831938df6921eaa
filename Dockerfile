# The images: a target for each process, named like its folder; `management` is the command `oceanus`, for Jobs and checks.
#
#   docker build --target arms --build-arg PYTHON=docker.io/library/python:3.13-slim-bookworm@sha256:... --tag arms .
#
# The base is an argument, because a tag moves: give it with the digest that this tells, and renew that digest now and then,
# for Debian's security fixes come with it (none is installed here). BUILDER, with its compiler, likewise:
#   docker buildx imagetools inspect docker.io/library/python:3.13-slim-bookworm --format '{{.Manifest.Digest}}'
#
# Each image runs as user 65532 on a read-only root file system. What a process writes is mounted: /tmp (arms: heartbeats and
# the metrics that its workers share; in memory, 64 MB), and arms' JOURNAL_DIR on a disk that lasts. JOURNAL_DIR has no default
# here: without a volume a journal would be gone with its container, and its beacons had been answered.
#
# There is no HEALTHCHECK: Kubernetes ignores it and asks /hc and /lb itself; systemd and Docker restart what ends, and ours end
# when they cannot go on.

ARG PYTHON=docker.io/library/python:3.13-slim-bookworm
ARG BUILDER=docker.io/library/python:3.13-bookworm

# --- what builds, and stays behind

FROM ${BUILDER} AS build
WORKDIR /build
COPY requirements/build.txt requirements/
RUN python -m venv tools \
 && tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
 && python -m venv --without-pip /opt/oceanus
ENV PATH=/build/tools/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

FROM build AS wheel
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist .

# gunicorn_h1c comes as source alone, which the setuptools of requirements/build.txt builds; nothing else is compiled here.
FROM build AS install-arms
COPY requirements/arms.txt requirements/
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --no-binary gunicorn-h1c --no-build-isolation --wheel-dir wheels \
    -r requirements/arms.txt
COPY --from=wheel /build/dist wheels/
RUN pip --python /opt/oceanus install --no-cache-dir --no-deps --no-index wheels/*.whl

FROM build AS install-r2bq
COPY requirements/r2bq.txt requirements/
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --wheel-dir wheels -r requirements/r2bq.txt
COPY --from=wheel /build/dist wheels/
RUN pip --python /opt/oceanus install --no-cache-dir --no-deps --no-index wheels/*.whl

FROM build AS install-table_manager
COPY requirements/table_manager.txt requirements/
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --wheel-dir wheels -r requirements/table_manager.txt
COPY --from=wheel /build/dist wheels/
RUN pip --python /opt/oceanus install --no-cache-dir --no-deps --no-index wheels/*.whl

FROM build AS install-revelation
COPY requirements/revelation.txt requirements/
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --wheel-dir wheels -r requirements/revelation.txt
COPY --from=wheel /build/dist wheels/
RUN pip --python /opt/oceanus install --no-cache-dir --no-deps --no-index wheels/*.whl

FROM build AS install-management
COPY requirements/management.txt requirements/
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --wheel-dir wheels -r requirements/management.txt
COPY --from=wheel /build/dist wheels/
RUN pip --python /opt/oceanus install --no-cache-dir --no-deps --no-index wheels/*.whl

# --- what runs

FROM ${PYTHON} AS runtime
ARG PYTHON
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="oceanus" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON}"
# Nothing is installed from here on.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/ensurepip
# PYTHONSAFEPATH: modules come from the image alone, not from the folder that a process happens to start in.
ENV PATH=/opt/oceanus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER 65532:65532

FROM runtime AS arms
LABEL org.opencontainers.image.title="arms" \
      org.opencontainers.image.description="oceanus' collector of beacons"
COPY --from=install-arms /opt/oceanus /opt/oceanus
EXPOSE 8080
ENTRYPOINT ["python", "-m", "arms"]

FROM runtime AS r2bq
LABEL org.opencontainers.image.title="r2bq" \
      org.opencontainers.image.description="oceanus' drain from Redis to BigQuery"
COPY --from=install-r2bq /opt/oceanus /opt/oceanus
EXPOSE 8081
ENTRYPOINT ["python", "-m", "r2bq"]

FROM runtime AS table_manager
LABEL org.opencontainers.image.title="table_manager" \
      org.opencontainers.image.description="oceanus' keeper of tables, which audits too"
COPY --from=install-table_manager /opt/oceanus /opt/oceanus
EXPOSE 8082
ENTRYPOINT ["python", "-m", "table_manager"]

FROM runtime AS revelation
LABEL org.opencontainers.image.title="revelation" \
      org.opencontainers.image.description="oceanus' teller of people"
COPY --from=install-revelation /opt/oceanus /opt/oceanus
EXPOSE 8083
ENTRYPOINT ["python", "-m", "revelation"]

FROM runtime AS management
LABEL org.opencontainers.image.title="management" \
      org.opencontainers.image.description="oceanus' command for the operator"
COPY --from=install-management /opt/oceanus /opt/oceanus
ENTRYPOINT ["python", "-m", "management"]
