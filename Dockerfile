# docs/operations.md says how to build and run it.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home studio && python3 -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /studio
COPY requirements.txt .
# The index has torch without CUDA, which saves gigabytes. An empty one takes torch from PyPI.
ARG TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
RUN pip install -r requirements.txt $TORCH_INDEX
COPY app.py LICENSE ./
COPY core core
COPY app app
COPY assets assets
COPY experts experts
USER studio
RUN python -m core check
EXPOSE 7860
CMD ["python", "app.py", "--host", "0.0.0.0"]
