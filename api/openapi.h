/* The OpenAPI 3.1 description, made from the route table, so that it can't miss a route or invent one. */
#ifndef ERRAND_API_OPENAPI_H
#define ERRAND_API_OPENAPI_H

#include "common/strbuf.h"

void openapi_write(struct strbuf *out);

/* The schemas of components, as JSON (openapi_schemas.c). */
extern const char openapi_schemas[];

#endif
