/* What a bundle asks to be installed, looked at before pip or npm see it: both do much more than install packages when their files tell them to. Pure. */
#ifndef ERRAND_RUNNER_BUNDLE_REQUIREMENTS_H
#define ERRAND_RUNNER_BUNDLE_REQUIREMENTS_H

#include "common/base.h"

enum { REQUIREMENTS_MAX = 262144, PACKAGE_JSON_MAX = 1048576 };

/* requirements.txt: names with versions, markers and hashes only; no options, paths, URLs or variables (with those it could build and run what it likes). NULL, or what is wrong (static), with the line it is in. */
const char *requirements_fault(struct str text, int *ret_line);
/* package.json: whether it names packages to be installed. False too where it is no JSON object (*ret_valid false then). */
bool package_wants(struct str text, bool *ret_valid);

#endif
