/* Origins of browsers: CORS, and which pages may use a session's cookie; and the address that a request came from. */
#ifndef ERRAND_API_ORIGIN_H
#define ERRAND_API_ORIGIN_H

#include "api/node.h"
#include "common/cidr.h"

/* Adds the CORS headers of an answer, where the request has an Origin that cors-origins allows. */
void origin_add_cors(const struct node *n, struct http_req *req);
/* Whether the request has an Origin, and that is the server itself or one that cors-origins names (`*` names none). */
bool origin_is_ours(const struct node *n, const struct http_req *req);
/* The client: the connection's peer, or, where that is one of trusted-proxies, the last address of X-Forwarded-For that is none of them. */
/* False in *ret_known where that can't be told: the proxy's own address then, which is not the client's. */
struct ip origin_client(const struct node *n, const struct http_req *req, bool *ret_known);

#endif
