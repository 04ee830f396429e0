# Leeway in one image: the service, its console, collectors, rules and dashboards. Node 24 runs the TypeScript as it is.
# For a reproducible build give the image by digest: --build-arg NODE_IMAGE=node@sha256:…
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /opt/leeway
# .npmrc switches install scripts off: no package runs code of its own while the image is built.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Leeway" \
      org.opencontainers.image.description="Observability for GPU training and ONNX Runtime serving" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production
WORKDIR /opt/leeway
# Everything stays owned by root: the service cannot change its own code, even where the root file system is writable.
COPY --from=dependencies /opt/leeway/node_modules ./node_modules
COPY package.json LICENSE ./
COPY bin ./bin
COPY src ./src
COPY collectors ./collectors
COPY alerts ./alerts
COPY demo ./demo
COPY dashboards ./dashboards
COPY web ./web
COPY docs/runbooks ./docs/runbooks
RUN install -d -o 1000 -g 1000 -m 0750 /var/lib/leeway
# 1000 is the user "node" of the base image; by number, so that Kubernetes' runAsNonRoot can check it.
USER 1000:1000
VOLUME /var/lib/leeway
EXPOSE 8787
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8787/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/leeway.js"]
CMD ["serve", "--role", "all", "--data-dir", "/var/lib/leeway"]
