/* The handlers of the route table, one file a theme. Each answers its call exactly once. */
#ifndef ERRAND_API_HANDLERS_H
#define ERRAND_API_HANDLERS_H

#include "api/routes.h"
#include "lua/scripts.h"

/* handle_runs.c */
void handle_submit(struct call *c);
void handle_submit_stream(struct call *c);
void handle_submit_wait(struct call *c);
void handle_rest(struct call *c);
void handle_show(struct call *c);
void handle_stop(struct call *c);
void handle_rerun(struct call *c);
void handle_redrive(struct call *c);
void handle_delete(struct call *c);
void handle_logs(struct call *c);
/* handle_input.c */
void handle_input(struct call *c);
/* handle_storage.c */
void handle_storage_put(struct call *c);
void handle_storage_get(struct call *c);
void handle_storage_delete(struct call *c);
void handle_storage_list(struct call *c);
/* handle_list.c */
void handle_list(struct call *c);
/* handle_tree.c */
void handle_tree(struct call *c);
/* handle_bulk.c */
void handle_bulk(struct call *c);
/* handle_batch.c */
void handle_batch(struct call *c);
/* handle_agents.c */
void handle_agent_put(struct call *c);
void handle_agent_get(struct call *c);
void handle_agent_delete(struct call *c);
void handle_agent_list(struct call *c);
void handle_agent_versions(struct call *c);
void handle_agent_rollback(struct call *c);
/* handle_bundles.c */
void handle_bundle_begin(struct call *c);
void handle_bundle_list(struct call *c);
void handle_bundle_get(struct call *c);
void handle_bundle_delete(struct call *c);
void handle_bundle_complete(struct call *c);
void handle_bundle_chunk_put(struct call *c);
void handle_bundle_chunk_get(struct call *c);
/* handle_schedules.c */
void handle_schedule_create(struct call *c);
void handle_schedule_put(struct call *c);
void handle_schedule_get(struct call *c);
void handle_schedule_delete(struct call *c);
void handle_schedule_list(struct call *c);
void handle_schedule_pause(struct call *c);
void handle_schedule_resume(struct call *c);
void handle_schedule_trigger(struct call *c);
/* handle_trust.c */
void handle_trust_put(struct call *c);
void handle_trust_get(struct call *c);
void handle_trust_delete(struct call *c);
void handle_trust_list(struct call *c);
/* handle_token.c */
void handle_token(struct call *c);
/* handle_secrets.c */
void handle_secret_put(struct call *c);
void handle_secret_get(struct call *c);
void handle_secret_delete(struct call *c);
void handle_secret_list(struct call *c);
/* rekey.c */
void handle_secret_rekey(struct call *c);
/* handle_webhooks.c */
void handle_webhook_create(struct call *c);
void handle_webhook_list(struct call *c);
void handle_webhook_get(struct call *c);
void handle_webhook_put(struct call *c);
void handle_webhook_delete(struct call *c);
void handle_webhook_rotate(struct call *c);
void handle_webhook_test(struct call *c);
void handle_webhook_deliveries(struct call *c);
void handle_webhook_resend(struct call *c);
/* handle_ingress.c */
void handle_ingress(struct call *c);
void handle_manifest(struct call *c);
/* handle_ops.c */
void handle_healthz(struct call *c);
void handle_readyz(struct call *c);
void handle_metrics(struct call *c);
void handle_openapi(struct call *c);
void handle_runners(struct call *c);
void handle_runner_drain(struct call *c);
/* handle_queues.c */
void handle_queues(struct call *c);
void handle_queue_get(struct call *c);
void handle_queue_put(struct call *c);
void handle_queue_pause(struct call *c);
void handle_queue_resume(struct call *c);
void handle_queue_drain(struct call *c);
/* handle_workspaces.c */
void handle_workspace_list(struct call *c);
void handle_workspace_get(struct call *c);
void handle_workspace_put(struct call *c);
void handle_workspace_delete(struct call *c);
/* handle_keys.c */
void handle_key_create(struct call *c);
void handle_key_list(struct call *c);
void handle_key_get(struct call *c);
void handle_key_put(struct call *c);
void handle_key_rotate(struct call *c);
void handle_key_delete(struct call *c);
void handle_whoami(struct call *c);
/* handle_session.c */
void handle_session_create(struct call *c);
void handle_session_delete(struct call *c);
/* handle_audit.c */
void handle_audit(struct call *c);
/* sse.c */
void handle_stream(struct call *c);
void handle_events(struct call *c);

#endif
