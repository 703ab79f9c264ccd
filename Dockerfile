# A broker in a container: slim, not root, data in a volume, health through the command line.
#
#   docker build -t penstock .
#   docker run -p 127.0.0.1:7419:7419 -v penstock-data:/var/lib/penstock penstock
#
# Inside the container the broker listens on every address, so whoever reaches the published port may do anything:
# publish it on loopback, as above, or on a network you trust.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv /opt/penstock
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY clients/python clients/python
COPY src src
RUN /opt/penstock/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ./clients/python .

FROM python:${PYTHON}-slim
RUN useradd --system --uid 7419 --user-group --home-dir /var/lib/penstock --create-home --shell /usr/sbin/nologin penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PENSTOCK_SERVER__HOST=0.0.0.0 \
    PENSTOCK_SERVER__ALLOW_ANONYMOUS=true \
    PENSTOCK_STORAGE__DATA_DIR=/var/lib/penstock/data \
    PENSTOCK_URL=penstock://127.0.0.1:7419
USER penstock
WORKDIR /var/lib/penstock
VOLUME /var/lib/penstock
EXPOSE 7419
# It drains on SIGTERM in less than the ten seconds that Docker waits.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["penstock", "status", "--json"]
ENTRYPOINT ["penstock"]
CMD ["serve"]
