#include "common/id.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "common/crypto.h"

/* Random bytes for many ids come in one call to the kernel. They lie in a page of their own that a forked child gets empty, so that no two processes give out the same. One a thread, kept. */
struct random_page {
    size_t left;
    unsigned char bytes[4096 - sizeof(size_t)];
};

static void take_random(unsigned char *to, size_t n)
{
    static _Thread_local struct random_page *page;
    if (!page) {
        void *p = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED && madvise(p, sizeof *page, MADV_WIPEONFORK) == 0)
            page = p;
        else if (p != MAP_FAILED)
            munmap(p, sizeof *page);
    }
    if (!page) {
        crypto_random(to, n);
        return;
    }
    if (page->left < n) {
        if (getrandom(page->bytes, sizeof page->bytes, 0) != (ssize_t)sizeof page->bytes)
            crypto_random(page->bytes, sizeof page->bytes); /* which asks for 256 bytes at a time */
        page->left = sizeof page->bytes;
    }
    page->left -= n;
    memcpy(to, page->bytes + page->left, n);
    memset(page->bytes + page->left, 0, n);
}

enum { UUID_BYTES = 16 };

static struct id id_text(unsigned char u[UUID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    struct id id;
    char *at = id.s;
    u[6] = (unsigned char)((u[6] & 0x0f) | 0x40); /* version 4 */
    u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[u[i] >> 4];
        *at++ = digits[u[i] & 15];
    }
    *at = 0;
    return id;
}

struct id id_new(void)
{
    unsigned char u[UUID_BYTES];
    take_random(u, sizeof u);
    return id_text(u);
}

struct id id_new_run(unsigned shard)
{
    PRE(shard < 256);
    unsigned char u[UUID_BYTES];
    take_random(u, sizeof u);
    u[0] = (unsigned char)shard;
    return id_text(u);
}

bool id_parse(struct str s, struct id *ret_id)
{
    if (s.len != ID_LEN)
        return false;
    for (size_t i = 0; i < ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = s.ptr[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    memcpy(ret_id->s, s.ptr, ID_LEN);
    ret_id->s[ID_LEN] = 0;
    return true;
}

unsigned id_shard(const struct id *id)
{
    unsigned shard = 0;
    for (int i = 0; i < 2; i++)
        shard = shard * 16 + (unsigned)(id->s[i] <= '9' ? id->s[i] - '0' : id->s[i] - 'a' + 10);
    return shard;
}

unsigned id_workspace_shard(struct str workspace, unsigned shards)
{
    PRE(shards >= 1 && shards <= 256);
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a: fixed for ever, because data lies where it says */
    for (size_t i = 0; i < workspace.len; i++)
        h = (h ^ (unsigned char)workspace.ptr[i]) * UINT64_C(1099511628211);
    return (unsigned)(h % shards);
}
