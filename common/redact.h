/* Redaction of secrets in what an attempt says. */
#ifndef ERRAND_COMMON_REDACT_H
#define ERRAND_COMMON_REDACT_H

#include "common/base.h"

struct redact_secret {
    struct str name, value;
};

#endif
