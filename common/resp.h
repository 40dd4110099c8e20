/* Reading what Redis answers (RESP2): bytes are read from the socket straight into a buffer, and a reply is a tree whose strings are slices of that buffer. So nothing is copied, and a reply costs no
 * allocation of its own: its nodes lie in memory that is used again for the next one. Trees have the form of hiredis' redisReply. Resumes where bytes end. Pure, one thread, never blocks. */
#ifndef ERRAND_COMMON_RESP_H
#define ERRAND_COMMON_RESP_H

#include <hiredis/hiredis.h>

#include "common/base.h"

struct resp;

/* NULL when memory is out. It holds no buffer before resp_room. */
struct resp *resp_new(void);
void resp_free(struct resp *r);
/* Where the next bytes go: *ret_len > 0 bytes; more of them after a read that filled them all. NULL when memory is out. Ends the last reply's life. */
char *resp_room(struct resp *r, size_t *ret_len);
/* n bytes were read to there. */
void resp_filled(struct resp *r, size_t n);

enum resp_found { RESP_REPLY, RESP_MORE, RESP_BROKEN };
/* The next whole reply, valid until the next call; every string has a NUL behind it. RESP_MORE when it is not all there. RESP_BROKEN: that is no RESP2 (or memory is out), and nothing more will come; *ret_why is static. */
MUST_CHECK enum resp_found resp_next(struct resp *r, const redisReply **ret_reply, const char **ret_why);
/* Gives its memory back, where nothing of a reply is in it: for a connection that is idle. Ends the last reply's life. */
void resp_rest(struct resp *r);

#endif
