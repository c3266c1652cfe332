# metafunc on the CPU: docker build -t metafunc . && docker run --rm -v "$PWD:/work" metafunc train
FROM python:3.11-slim

COPY . /source
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        --constraint /source/constraints.txt /source \
    && rm -r /source \
    && useradd --create-home --uid 1000 metafunc \
    && mkdir /work \
    && chown metafunc /work

USER metafunc
WORKDIR /work
ENTRYPOINT ["metafunc"]
CMD ["--help"]
