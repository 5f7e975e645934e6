# The server with its pages and TLS to PostgreSQL. It does not run as root and needs no writable file system.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations migrations
COPY static static
COPY build.rs ./
# Some arm64 machines have memory pages of 64 KiB (2^16 bytes), and jemalloc fixes the page size at build time.
ARG TARGETARCH
RUN if [ "$TARGETARCH" = arm64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi; \
    cargo build --release --locked --features postgres-tls

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/frontdesk /frontdesk
ENV HOST=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=4s CMD ["/frontdesk", "healthcheck"]
ENTRYPOINT ["/frontdesk"]
