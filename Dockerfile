# The connector in a container. Root's files are read-only to it; all it writes is under /data.
#
#   docker build -t affiliate-connector .
#   docker run --read-only --env-file .env -p 127.0.0.1:8080:8080 -v connector-data:/data \
#     -v ./config.toml:/config.toml:ro affiliate-connector
#
# The configuration is at /config.toml, so its relative paths (data/…, mappings/…) mean /data and /mappings.
# tests/test_container.py performs these very steps in a folder; `just container` builds the image and runs it, on a base
# of its own. 3.11 is the Python that the tests run on. The digest is the one that was published for this tag in 2026;
# for a newer base: docker buildx imagetools inspect python:3.11-slim-bookworm
# There is no "# syntax" line: nothing here needs more than the builder's own Dockerfile reader, so none is downloaded.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-cache-dir --quiet --require-hashes --only-binary :all: -r requirements-build.lock
# No pip and no compiler goes along; byte code is made now, since nothing can be written later.
RUN python -m venv --without-pip /opt/connector \
    && /opt/build/bin/uv pip sync --quiet --no-cache --python /opt/connector/bin/python --require-hashes --no-build \
       --compile-bytecode requirements.lock
# Half of what was installed is never imported: HubSpot's other APIs, where phone numbers are and whose network they are
# in, country names in other languages, a second compression backend for PyPy. Of each locale, how dates and numbers are
# written is kept, and not what languages, places, units and time zones are called in it.
RUN site=$(echo /opt/connector/lib/python3*/site-packages) \
    && rm -r "$site"/hubspot/cms "$site"/hubspot/marketing "$site"/phonenumbers/geodata "$site"/phonenumbers/carrierdata \
       "$site"/pycountry/locales "$site"/zstandard/_cffi.*.so \
    && for api in "$site"/hubspot/crm/*/; do \
         case "$api" in */associations/|*/objects/|*/properties/) ;; *) rm -r "$api" ;; esac; \
       done \
    && /opt/connector/bin/python -B -c "import pathlib, pickle, babel; [file.write_bytes(pickle.dumps({name: value for name, value in pickle.loads(file.read_bytes()).items() if name not in names}, 2)) for names in [{'unit_patterns', 'unit_display_names', 'compound_unit_patterns', 'time_zones', 'meta_zones', 'languages', 'territories', 'scripts', 'variants', 'date_fields'}] for file in pathlib.Path(babel.__file__).with_name('locale-data').glob('*.dat')]"
COPY pyproject.toml README.md config.example.toml ./
COPY mappings mappings
COPY schemas schemas
COPY connector connector
RUN /opt/build/bin/uv build --quiet --no-cache --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /opt/wheels . \
    && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/connector/bin/python --no-deps --offline \
       --compile-bytecode /opt/wheels/*.whl \
    && mkdir --mode=0700 /data

FROM ${BASE}
COPY --from=build /opt/connector /opt/connector
COPY --from=build --chown=10001:10001 /data /data
COPY mappings /mappings
ENV PATH=/opt/connector/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CONNECTOR_CONFIG=/config.toml
WORKDIR /
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Without curl: the standard library asks.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-S", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["connector"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
