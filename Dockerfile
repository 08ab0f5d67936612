# A server of trained models: docker build -t actsr . && docker run -p 8000:8000 -v "$PWD/runs:/runs:ro" -e ACTSR_API_KEY actsr
# The key comes from the environment or a mounted file (--api-key-file); it is in no layer of the image.

FROM python:3.12-slim AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE ./
COPY actsr_cli actsr_cli
COPY presets presets
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim AS environment
COPY constraints.txt /constraints.txt
RUN python -m venv /opt/actsr
# The CPU build of PyTorch, whose wheels are on an index of their own: a tenth of the size of the build for GPUs.
RUN /opt/actsr/bin/pip install --no-cache-dir --constraint /constraints.txt --index-url https://download.pytorch.org/whl/cpu torch
COPY --from=wheel /wheels /wheels
RUN /opt/actsr/bin/pip install --no-cache-dir --constraint /constraints.txt "$(ls /wheels/*.whl)[serve]"

FROM python:3.12-slim
COPY --from=environment /opt/actsr /opt/actsr
RUN useradd --create-home --uid 10001 actsr
USER actsr
WORKDIR /home/actsr
ENV PATH=/opt/actsr/bin:$PATH PYTHONUNBUFFERED=1 ACTSR_RUNS=/runs
# The attention is compiled for this kind of CPU; on another kind, the first start compiles it anew.
RUN python -m actsr_cli.attention.kernels.first_call
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
ENTRYPOINT ["actsr"]
CMD ["serve", "--host", "0.0.0.0", "--watch"]
