# clipfeed for GPUs, and for machines without one:
#
#   docker build --tag clipfeed .
#   docker run --rm --gpus all --volume /data:/data --volume /runs:/runs clipfeed \
#       torchrun --standalone --nproc-per-node=gpu -m clipfeed pretrain --config ctp/r3d18_kinetics \
#       --data-dir /data/k400 --work-dir /runs/ctp
#
# Plain Python is enough of a base: the wheels of torch and DALI hold CUDA, cuDNN and NCCL, and the driver's libraries come
# from the host. A CUDA image would hold them twice, some GB.
FROM python:3.12-slim

# train.compile builds kernels by a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# `video` is NVDEC, which the runtime leaves out by default.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    PYTHONUNBUFFERED=1

# The dependencies are a layer of their own, made anew only where one of these files changes.
WORKDIR /src
COPY setup.cfg pyproject.toml constraints.txt ./
RUN touch clipfeed.py \
    && pip install --no-cache-dir --constraint constraints.txt .

COPY . .
RUN pip install --no-cache-dir --no-deps --force-reinstall .

# Not root: what a run writes into a mounted folder belongs to this user. `--user "$(id -u):$(id -g)"` makes it yours.
RUN useradd --create-home --uid 1000 clipfeed
USER clipfeed
WORKDIR /home/clipfeed
CMD ["clipfeed", "--help"]
