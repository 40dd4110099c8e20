/* The version of all of Errand's programs. */
#ifndef ERRAND_COMMON_VERSION_H
#define ERRAND_COMMON_VERSION_H

#define ERRAND_VERSION "0.1.0"

#endif
