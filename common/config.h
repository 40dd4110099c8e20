/* The one table of options. Each is `--redis-url`, `ERRAND_REDIS_URL`, and a line `redis-url = …` of the file named by --config / ERRAND_CONFIG; flag beats environment beats file beats default.
 * Secrets come from the environment or a *_FILE, never from a flag. `--help` prints the table; an unknown option is an error with the nearest name. */
#ifndef ERRAND_COMMON_CONFIG_H
#define ERRAND_COMMON_CONFIG_H

#include "common/err.h"
#include "common/strbuf.h"

/* Which program takes an option. */
enum { FOR_API = 1, FOR_RUNNER = 2, FOR_BOTH = 3 };

/* X(field, type, "name", programs, default as text, min, max, "help") — type: str, secret, int, ms, bytes, bool. min and max bound numbers (ignored for str, bool). */
#define CONFIG_TABLE(X)                                                                                                \
    X(redis_url, str, "redis-url", FOR_BOTH, "redis://127.0.0.1:6379/0", 0, 0,                                         \
      "Redis: redis://[user:password@]host:port/db or unix:///path[?db=n]; a comma list spreads the shards")           \
    X(redis_user, str, "redis-user", FOR_BOTH, "", 0, 0,                                                               \
      "Redis user that redis-password is of (default: Redis' own default user)")                                       \
    X(redis_password, secret, "redis-password", FOR_BOTH, "", 0, 0, "password for Redis where the URL has none")       \
    X(prefix, str, "prefix", FOR_BOTH, "errand:", 0, 0, "what every Redis key begins with")                            \
    X(shards, int, "shards", FOR_BOTH, "1", 1, 256, "number of shards, fixed when a deployment is made")               \
    X(allow_eviction, bool, "allow-eviction", FOR_BOTH, "false", 0, 0,                                                 \
      "start although Redis may evict keys (loses runs)")                                                              \
    X(log_level, str, "log-level", FOR_BOTH, "info", 0, 0, "debug, info, warn or error")                               \
    X(log_format, str, "log-format", FOR_BOTH, "json", 0, 0, "json or logfmt")                                         \
    X(node, str, "node", FOR_BOTH, "", 0, 0, "this node's name in logs and records (default: host name)")              \
    X(listen, str, "listen", FOR_API, "127.0.0.1:7070", 0, 0, "address to serve on; port 0 takes a free one")          \
    X(metrics_listen, str, "metrics-listen", FOR_RUNNER, "", 0, 0,                                                     \
      "address for /metrics, /healthz and /readyz of a runner (empty: none)")                                          \
    X(port_file, str, "port-file", FOR_BOTH, "", 0, 0, "file to write the port to once it serves")                     \
    X(threads, int, "threads", FOR_API, "1", 1, 64,                                                                    \
      "event loops, each with its own listening socket and Redis connections")                                         \
    X(root_key, secret, "root-key", FOR_API, "", 0, 0, "bootstrap admin key (errand keygen makes one)")                \
    X(master_key, secret, "master-key", FOR_BOTH, "", 0, 0,                                                            \
      "seals secrets in Redis: 32 bytes as base64 or hex (errand keygen --master makes one)")                          \
    X(master_key_old, secret, "master-key-old", FOR_BOTH, "", 0, 0,                                                    \
      "comma list of retired master keys, which only open what was sealed under them")                                 \
    X(public_url, str, "public-url", FOR_API, "", 0, 0, "what streamUrl begins with (default: a relative path)")       \
    X(cors_origins, str, "cors-origins", FOR_API, "", 0, 0, "comma list of origins that browsers may call from, or *") \
    X(trusted_proxies, str, "trusted-proxies", FOR_API, "", 0, 0,                                                      \
      "comma list of addresses or networks whose X-Forwarded-For is believed")                                         \
    X(auth_failures_max, int, "auth-failures-max", FOR_API, "60", 0, 1000000,                                          \
      "failed authentications of a source address a minute before it is told to wait (0: no limit)")                   \
    X(session_ms, ms, "session-ms", FOR_API, "43200000", 60000, 2592000000, "how long a browser's session lasts")      \
    X(session_cookie_secure, bool, "session-cookie-secure", FOR_API, "true", 0, 0,                                     \
      "send the session's cookie over TLS only (false for plain HTTP in development)")                                 \
    X(allow_private_addresses, bool, "allow-private-addresses", FOR_BOTH, "false", 0, 0,                               \
      "let webhooks, token issuers and remote agents be at private, loopback and link-local addresses, and webhooks "  \
      "and calls with a secret speak http")                                                                            \
    X(webhook_timeout_ms, ms, "webhook-timeout-ms", FOR_API, "15000", 100, 60000,                                      \
      "how long a webhook's receiver may take to answer")                                                              \
    X(webhook_retry_base_ms, ms, "webhook-retry-base-ms", FOR_API, "5000", 1, 60000,                                   \
      "the first wait before a webhook is told again; the later ones are multiples of it, 24 h in all by default")     \
    X(ca_file, str, "ca-file", FOR_BOTH, "", 0, 0,                                                                     \
      "certificates to trust when webhooks, token issuers and remote agents are called (PEM; default: the system's)")  \
    X(reader_buffer, bytes, "reader-buffer", FOR_API, "1048576", 65536, 1073741824,                                    \
      "bytes buffered for a reader of a stream, at most (one entry more)")                                             \
    X(min_replicas, int, "min-replicas", FOR_API, "0", 0, 16,                                                          \
      "replicas that must confirm a submit (WAIT) for durable: true")                                                  \
    X(queue_max, int, "queue-max", FOR_API, "1000000", 1, 1000000000,                                                  \
      "runs of a workspace that may wait (its queueMax may say less)")                                                 \
    X(audit_retention_ms, ms, "audit-retention-ms", FOR_API, "7776000000", 1000, 315360000000,                         \
      "how long entries of the audit log are kept")                                                                    \
    X(retention_ms, ms, "retention-ms", FOR_BOTH, "604800000", 0, 31536000000, "how long ended runs are kept")         \
    X(queues, str, "queues", FOR_RUNNER, "default", 0, 0, "comma list of queues to serve")                             \
    X(slots, int, "slots", FOR_RUNNER, "8", 1, LIMIT_SLOTS, "runs executed at a time")                                 \
    X(executors, str, "executors", FOR_RUNNER, "", 0, 0,                                                               \
      "comma list of executors this runner may use (process executes what a caller sends)")                            \
    X(check_executors, bool, "check-executors", FOR_RUNNER, "false", 0, 0,                                             \
      "try the executors on this machine, say what keeps one from working, and end (2), or end with 0")                \
    X(sandbox_uid, int, "sandbox-uid", FOR_RUNNER, "64111", 1, 4294967293,                                             \
      "user and group id that sandboxed agents have (where the runner is root, also outside)")                         \
    X(sandbox_paths, str, "sandbox-paths", FOR_RUNNER, "", 0, 0,                                                       \
      "comma list of more files and folders that sandboxed agents may read")                                           \
    X(sandbox_disk_mb, int, "sandbox-disk-mb", FOR_RUNNER, "256", 0, 1048576,                                          \
      "MiB that a sandboxed agent may keep in its private folder unless its resources say so (0: as the disk has)")    \
    X(sandbox_memory_mb, int, "sandbox-memory-mb", FOR_RUNNER, "0", 0, 16777216,                                       \
      "MiB of memory for a sandboxed agent unless its resources say so (0: no limit)")                                 \
    X(sandbox_pids, int, "sandbox-pids", FOR_RUNNER, "512", 0, 4194304,                                                \
      "processes and threads of a sandboxed agent unless its resources say so (0: no limit)")                          \
    X(sandbox_allow_private, bool, "sandbox-allow-private", FOR_RUNNER, "false", 0, 0,                                 \
      "let allowed hosts of a sandbox with network filtered be at private, loopback and link-local addresses")         \
    X(images, str, "images", FOR_RUNNER, "", 0, 0,                                                                     \
      "comma list of images that containers and machines may be made of: exact references, or prefix/* (empty: none)") \
    X(docker_socket, str, "docker-socket", FOR_RUNNER, "/var/run/docker.sock", 0, 0,                                   \
      "socket of the Docker Engine API (Docker's or Podman's; of a comma list the first that answers)")                \
    X(container_pull, bool, "container-pull", FOR_RUNNER, "false", 0, 0,                                               \
      "fetch allowed images that are not on this machine")                                                             \
    X(fly_api_url, str, "fly-api-url", FOR_RUNNER, "https://api.machines.dev", 0, 0, "where the Fly Machines API is")  \
    X(fly_app, str, "fly-app", FOR_RUNNER, "", 0, 0, "the Fly app whose machines execute attempts")                    \
    X(fly_token, secret, "fly-token", FOR_RUNNER, "", 0, 0, "a token for that app")                                    \
    X(fly_region, str, "fly-region", FOR_RUNNER, "", 0, 0,                                                             \
      "region of machines whose agent names none (default: the nearest)")                                              \
    X(tags, str, "tags", FOR_RUNNER, "", 0, 0,                                                                         \
      "comma list of what this runner offers, for runs that require it (gpu, zone=a)")                                 \
    X(storage_redis_url, str, "storage-redis-url", FOR_RUNNER, "", 0, 0,                                               \
      "the Redis that agents are told (as redis-url, without credentials): each attempt gets a Redis user of its own") \
    X(storage_admin_user, str, "storage-admin-user", FOR_RUNNER, "", 0, 0,                                             \
      "Redis user that makes those users (default: redis-user)")                                                       \
    X(storage_admin_password, secret, "storage-admin-password", FOR_RUNNER, "", 0, 0, "its password")                  \
    X(adopt, bool, "adopt", FOR_RUNNER, "false", 0, 0,                                                                 \
      "runs outlive a runner that ends or dies, for a lease, and the next one of its name takes them over")            \
    X(pool_workers, int, "pool-workers", FOR_RUNNER, "0", 0, LIMIT_SLOTS,                                              \
      "warm workers of all pools together, at most (0: as many as slots)")                                             \
    X(api_base, str, "api-base", FOR_RUNNER, "http://127.0.0.1:7070", 0, 0, "what agents are told as ERRAND_API_BASE") \
    X(work_dir, str, "work-dir", FOR_RUNNER, "", 0, 0,                                                                 \
      "where attempts get their private directories (default: the system's temporary folder)")                         \
    X(cgroup_root, str, "cgroup-root", FOR_RUNNER, "", 0, 0,                                                           \
      "path in each control group hierarchy under which attempts get groups (default: the runner's own); none: no "    \
      "groups")                                                                                                        \
    X(stats_ms, ms, "stats-ms", FOR_RUNNER, "10000", 100, 3600000,                                                     \
      "how often a running attempt's use of processor, memory and network is told")                                    \
    X(bundle_cache_dir, str, "bundle-cache-dir", FOR_RUNNER, "", 0, 0,                                                 \
      "where unpacked bundles are kept, in a folder of the node's name (default: beside the private directories)")     \
    X(bundle_cache_bytes, bytes, "bundle-cache-bytes", FOR_RUNNER, "2147483648", 0, 1099511627776,                     \
      "bytes of unpacked bundles kept on disk; past it the longest unused go")                                         \
    X(runtime_deps, bool, "runtime-deps", FOR_RUNNER, "false", 0, 0,                                                   \
      "install the requirements of bundles whose agents allow it (needs python3 with venv and pip, and npm)")          \
    X(pip_index_url, str, "pip-index-url", FOR_RUNNER, "", 0, 0,                                                       \
      "package index for requirements.txt (default: PyPI; none: only what the bundle's wheels folder has)")            \
    X(npm_registry, str, "npm-registry", FOR_RUNNER, "", 0, 0, "registry for package-lock.json (default: npm's own)")  \
    X(exec_path, str, "exec-path", FOR_RUNNER, "", 0, 0, "errand-exec (default: beside this program)")                 \
    X(remote_idle_ms, ms, "remote-idle-ms", FOR_RUNNER, "300000", 100, 86400000,                                       \
      "how long a remote agent or a model may send nothing before its connection is taken for broken")                 \
    X(anthropic_url, str, "anthropic-url", FOR_RUNNER, "https://api.anthropic.com", 0, 0,                              \
      "where the executor anthropic finds the Messages API, unless an agent says otherwise")                           \
    X(drain_ms, ms, "drain-ms", FOR_BOTH, "30000", 0, 86400000,                                                        \
      "on SIGTERM: how long runs (of a runner) or requests (of an API node) may still take")                           \
    X(lease_ms, ms, "lease-ms", FOR_BOTH, "10000", 1000, 600000,                                                       \
      "after how long without a heartbeat a runner is lost")                                                           \
    X(heartbeat_ms, ms, "heartbeat-ms", FOR_RUNNER, "3000", 100, 200000, "how often a runner says that it lives")      \
    X(orphan_ms, ms, "orphan-ms", FOR_RUNNER, "300000", 1000, 86400000,                                                \
      "cut off from Redis for this long, a runner kills its runs")                                                     \
    X(full_ms, ms, "full-ms", FOR_RUNNER, "60000", 1000, 86400000,                                                     \
      "Redis full for this long while output waits ends the attempt (storage_full)")                                   \
    X(output_buffer, bytes, "output-buffer", FOR_RUNNER, "1048576", 262144, 268435456,                                 \
      "bytes of an attempt's events held while Redis is slow; past it the agent's output is not read")                 \
    X(run_events_max, int, "run-events-max", FOR_BOTH, "1000000", 1, 1000000000,                                       \
      "events of a run before it ends with event_limit")                                                               \
    X(run_bytes_max, bytes, "run-bytes-max", FOR_BOTH, "67108864", 65536, 1099511627776,                               \
      "bytes of a run's events before it ends with event_limit")

#include "common/limits.h"

struct config {
#define CONFIG_TYPE_str                                                const char *
#define CONFIG_TYPE_secret                                             const char *
#define CONFIG_TYPE_int                                                int64_t
#define CONFIG_TYPE_ms                                                 int64_t
#define CONFIG_TYPE_bytes                                              int64_t
#define CONFIG_TYPE_bool                                               bool
#define CONFIG_FIELD(field, type, name, programs, def, min, max, help) CONFIG_TYPE_##type field;
    CONFIG_TABLE(CONFIG_FIELD)
#undef CONFIG_FIELD
    char *owned[128]; /* what the strings above borrow from */
};

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

/* Reads flags (--name value, --name=value, --bool), environment and file for one program (FOR_API or FOR_RUNNER). On ERR_CONFIG, ret_message holds one clear sentence that names the option and what
 * to do (nearest name for an unknown one). CONFIG_HELP: --help was given. */
MUST_CHECK enum err config_load(struct config *c, int program, int argc, char **argv, enum config_action *ret_action,
                                struct strbuf *ret_message);
/* Frees; secrets are overwritten before. */
void config_done(struct config *c);
/* Overwrites the texts of the master keys: where they are used there are vaults by then. */
void config_forget_master_keys(struct config *c);
/* Overwrites the secrets among this process' environment variables, which /proc shows for as long as it lives. After config_load, before there are threads. */
void config_wipe_environment(void);
/* The --help text for one program. */
void config_help(int program, const char *program_name, struct strbuf *out);
/* Writes every option as a Markdown table row (docs are tested against it). */
void config_markdown(struct strbuf *out);

#endif
