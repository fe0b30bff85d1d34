# areal with vllm as the inference server: exactly what locks/vllm.txt holds. `areal deps upgrade` keeps the versions below.
# Build from the repository's root: docker build -f docker/vllm.Dockerfile -t areal:vllm .
FROM python:3.11-slim-bookworm
ARG VLLM_VERSION=0.32.0
ARG TORCH_VERSION=2.13.0
LABEL areal.vllm=${VLLM_VERSION} areal.torch=${TORCH_VERSION}
WORKDIR /opt/areal
COPY locks/vllm.txt locks/vllm.txt
RUN pip install --no-cache-dir --require-hashes -r locks/vllm.txt
COPY . .
RUN pip install --no-cache-dir --no-deps .
ENTRYPOINT ["areal"]
