# The image of every node of cluster.yaml, head and workers: same Python, same packages, from the same three lock files
# as `make setup`. Build and push it, then name it in cluster.yaml:
#     docker build -t REGISTRY/sheep:0.2.0 . && docker push REGISTRY/sheep:0.2.0
# The base goes by tag, not by digest, so that its security fixes arrive with a rebuild; all that results depend on is
# pinned by hash above it. Nodes never mix, because cluster.yaml names one pushed image.
FROM python:3.11-slim

# Ray copies files into the container by rsync, and the head starts workers by ssh.
RUN apt-get update && apt-get install -y --no-install-recommends openssh-client rsync && rm -rf /var/lib/apt/lists/*

# Not root; 1000 is also the id of the machine's own user (ubuntu), whose files are mounted: the token, the ssh key.
RUN useradd --create-home --uid 1000 --shell /bin/bash ray
USER ray
# The token is mounted into .ray, which would otherwise be made by root.
RUN mkdir /home/ray/.ray /home/ray/sheep
WORKDIR /home/ray/sheep

COPY --chown=ray:ray requirements-setup.lock requirements.lock requirements-source.lock ./
RUN python3 -m venv .venv
RUN .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-setup.lock
RUN .venv/bin/uv pip install --no-cache --compile-bytecode --python .venv/bin/python --require-hashes --no-build-isolation -r requirements.lock
RUN SAM2_BUILD_CUDA=0 .venv/bin/uv pip install --no-cache --compile-bytecode --python .venv/bin/python --require-hashes --no-build-isolation --no-deps -r requirements-source.lock

# Twice: Ray runs its commands in login shells, which forget the first.
ENV PATH=/home/ray/sheep/.venv/bin:$PATH
RUN echo 'export PATH=/home/ray/sheep/.venv/bin:$PATH' > /home/ray/.bashrc && cp /home/ray/.bashrc /home/ray/.bash_profile

# Without the first two the NVIDIA runtime shows a container no GPU. Ray reports usage to its makers unless told not to.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility RAY_USAGE_STATS_ENABLED=0

# A job brings its own copy (`ray job submit --working-dir .`); this one is for `docker run`.
COPY --chown=ray:ray jobs jobs
COPY --chown=ray:ray sheep sheep
