# One image for every stage: which script runs is the container's command (compose.yaml).
#
#   docker build -t ml-ops-pipeline .
#   docker build -t ml-ops-pipeline:gpu --build-arg TENSORFLOW='tensorflow[and-cuda]' .
FROM python:3.11-slim

WORKDIR /app

# The libraries change seldom and take minutes, so they are a layer of their own.
ARG TENSORFLOW=tensorflow
COPY requirements.txt constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_ROOT_USER_ACTION=ignore python -m pip install -c constraints.txt -r requirements.txt "$TENSORFLOW"

COPY *.py ./
COPY pipeline pipeline/
COPY models models/
COPY hyperparameters hyperparameters/
# A volume that is mounted here for the first time takes over the owner.
RUN python -m compileall -q . && install -d -o 1000 -g 1000 data

# A number, as an account of any name may run it (--user) and Kubernetes has to see that it is not root.
USER 1000:1000
# Whoever runs it has no home; libraries keep their caches in memory or do without.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
# The stage that the health check asks for; goes with the command.
ENV STAGE=ingestion
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "exec python run_queue.py --health --stage \"$STAGE\""]
CMD ["python", "data_ingestion.py"]
