# areal with sglang as the inference server: exactly what locks/sglang.txt holds. `areal deps upgrade` keeps the versions below.
# Build from the repository's root: docker build -f docker/sglang.Dockerfile -t areal:sglang .
FROM python:3.11-slim-bookworm
ARG SGLANG_VERSION=0.5.23
ARG TORCH_VERSION=2.14.1
LABEL areal.sglang=${SGLANG_VERSION} areal.torch=${TORCH_VERSION}
WORKDIR /opt/areal
COPY locks/sglang.txt locks/sglang.txt
RUN pip install --no-cache-dir --require-hashes -r locks/sglang.txt
COPY . .
RUN pip install --no-cache-dir --no-deps .
ENTRYPOINT ["areal"]
