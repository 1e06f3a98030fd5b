# One image for a front-end (server.py) and the watchdog (fallback.py); settings come from the environment.
FROM python:3.13-slim-bookworm AS build

COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.txt

FROM python:3.13-slim-bookworm

# A fixed number, so that a volume's owner can be set from outside.
# What is kept over restarts, such as log entries that wait for PlugIt, lies in the one folder that may be written.
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin radiovis \
    && install --directory --owner 10001 /var/lib/radiovis

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY . .

USER 10001
VOLUME /var/lib/radiovis
EXPOSE 61613 8080
# The STOMP port answers; nothing but Python is needed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["python", "-c", "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ.get('STOMP_PORT', 61613))), 2)"]
ENTRYPOINT ["python", "server.py"]
