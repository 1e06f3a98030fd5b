# One image for a front-end (the command radiovis, and all others) and for the watchdog (radiovis-fallback).
# Settings come from the environment; secrets from files, as RABBITMQ_PASSWORD_FILE names one.
FROM python:3.13-slim-bookworm AS build

# What runs needs no pip.
RUN python -m venv --without-pip /opt/radiovis
COPY requirements.lock /src/
RUN pip --python /opt/radiovis/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps -r /src/requirements.lock
COPY . /src/
# The packages' own tests are a quarter of what would go into the image.
RUN pip --python /opt/radiovis/bin/python install --no-cache-dir --disable-pip-version-check --no-deps /src \
    && find /opt/radiovis -type d \( -name test -o -name tests \) -prune -exec rm -r {} +

FROM python:3.13-slim-bookworm

# A fixed number, so that a volume's owner can be set from outside.
# What is kept over restarts, such as log entries that wait for PlugIt, lies in the one folder that may be written.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/radiovis --shell /usr/sbin/nologin radiovis \
    && install --directory --owner radiovis --group radiovis /var/lib/radiovis

COPY --from=build /opt/radiovis /opt/radiovis

ENV PATH=/opt/radiovis/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

LABEL org.opencontainers.image.title="RadioVIS server" \
      org.opencontainers.image.description="Pictures and text beside a radio programme: front-end and watchdog" \
      org.opencontainers.image.licenses="Apache-2.0"

USER 10001:10001
WORKDIR /var/lib/radiovis
VOLUME /var/lib/radiovis
# STOMP, STOMP over TLS, HTTP, HTTPS; for operators: a front-end's port, the watchdog's.
EXPOSE 61613 61614 8080 8443 8081 8090
STOPSIGNAL SIGTERM
# Whether it lives. Whether clients should be sent to it is "health --ready": a node without its broker lives.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["radiovis", "health"]
CMD ["radiovis"]
