# An image of the binary alone, to copy it from: COPY --from=fence /fence /usr/local/bin/fence
# Inside a container fence makes namespaces of its own: docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN
# --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined …
FROM rust:1-slim AS build
WORKDIR /fence
COPY . .
RUN cargo build --release --target "$(uname -m)-unknown-linux-musl" \
    && cp "target/$(uname -m)-unknown-linux-musl/release/fence" /fence/binary

FROM scratch
COPY --from=build /fence/binary /fence
ENTRYPOINT ["/fence"]
