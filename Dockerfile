# traind's image: one for every role, chosen by the command (api, worker, migrate, user …; see docs/operations.md).
#
#   docker build -t traind .                                     torch's CPU build
#   docker build -t traind:gpu --build-arg TORCH_INDEX=https://pypi.org/simple .     with CUDA

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
COPY constraints.txt ./
# Torch by itself: it is by far the largest layer, and changes least.
RUN pip install --constraint constraints.txt --extra-index-url https://pypi.org/simple --index-url "$TORCH_INDEX" \
    "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
RUN pip install --constraint constraints.txt '.[worker,otel]'

FROM python:3.11-slim
# A user of its own, whose only folder is /data.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin traind \
    && install -d -o traind -g traind -m 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/traind
COPY clients clients
COPY service service
COPY worker worker
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/traind:/opt/traind/clients \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRAIND_DATA_DIR=/data
USER traind
VOLUME /data
EXPOSE 8080 8081 8082
ENTRYPOINT ["python", "-m", "service"]
CMD ["api"]
