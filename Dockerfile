# The server alone, with its pages and TLS to PostgreSQL: small, not root, no need to write.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations migrations
COPY static static
COPY build.rs ./
# Memory comes in pages of 64 KiB on some arm64 machines, and jemalloc has to know before.
ARG TARGETARCH
RUN if [ "$TARGETARCH" = arm64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi; \
    cargo build --release --locked --features postgres-tls

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/frontdesk /frontdesk
ENV HOST=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=4s CMD ["/frontdesk", "healthcheck"]
ENTRYPOINT ["/frontdesk"]
