/* What POST /v1/token is sent: {"token", "policy"?, "workspace"?, "scope"?}, or the parameters of OAuth 2.0 Token Exchange (RFC 8693), as JSON or as a form. Pure; borrows from the arena. */
#ifndef ERRAND_API_TOKEN_REQUEST_H
#define ERRAND_API_TOKEN_REQUEST_H

#include "api/validate.h"

struct token_request {
    struct str token;
    struct str workspace; /* "default" where none was named */
    struct str policy;    /* "": whichever takes the token */
    uint64_t scopes;      /* those asked for; 0: all that the policy grants */
};

/* content_type: of the request's header; a form is application/x-www-form-urlencoded, all else is read as JSON. False and *ret_fault when it is refused. */
MUST_CHECK bool token_request_read(struct arena *a, struct str content_type, struct str body,
                                   struct token_request *ret_request, struct fault *ret_fault);

#endif
