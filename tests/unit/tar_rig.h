/* Archives byte by byte, as no packer would make them: tar headers with whatever in them, and zstd around it. */
#ifndef ERRAND_TESTS_TAR_RIG_H
#define ERRAND_TESTS_TAR_RIG_H

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/strbuf.h"

struct tar_entry {
    const char *name;
    char
        type; /* '0' file, '1' hard link, '2' link, '3' '4' devices, '5' folder, '6' fifo, 'x' pax, 'L' 'K' GNU long names */
    unsigned mode;
    const char *link;
    struct str data;
    uint64_t size; /* where it is not data.len */
};

static inline void tar_pad(struct strbuf *t)
{
    while (t->len % 512)
        strbuf_addc(t, 0);
}

static inline void tar_header(struct strbuf *t, const struct tar_entry *e)
{
    char h[512] = {0};
    unsigned sum = 0;
    uint64_t size = e->size ? e->size : e->data.len;
    snprintf(h, 101, "%s", e->name);
    snprintf(h + 100, 8, "%07o", e->mode);
    snprintf(h + 108, 8, "%07o", 0U);
    snprintf(h + 116, 8, "%07o", 0U);
    if (size < (UINT64_C(1) << 33)) {
        snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
    } else { /* base 256 */
        h[124] = (char)0x80;
        for (int i = 0; i < 8; i++)
            h[135 - i] = (char)(size >> (8 * i));
    }
    snprintf(h + 136, 12, "%011o", 0U);
    memset(h + 148, ' ', 8);
    h[156] = e->type;
    if (e->link)
        snprintf(h + 157, 101, "%s", e->link);
    memcpy(h + 257, "ustar\00000", 8);
    for (size_t i = 0; i < sizeof h; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    strbuf_add(t, (struct str){h, sizeof h});
}

static inline void tar_add(struct strbuf *t, const struct tar_entry *e)
{
    tar_header(t, e);
    strbuf_add(t, e->data);
    tar_pad(t);
}

static inline void tar_file(struct strbuf *t, const char *name, const char *text)
{
    tar_add(t, &(struct tar_entry){name, '0', 0644, NULL, str_of(text), 0});
}

static inline void tar_link(struct strbuf *t, const char *name, const char *target)
{
    tar_add(t, &(struct tar_entry){name, '2', 0777, target, STR_NONE, 0});
}

static inline void tar_hard(struct strbuf *t, const char *name, const char *target)
{
    tar_add(t, &(struct tar_entry){name, '1', 0644, target, STR_NONE, 0});
}

static inline void tar_dir(struct strbuf *t, const char *name)
{
    tar_add(t, &(struct tar_entry){name, '5', 0755, NULL, STR_NONE, 0});
}

/* One record of a pax header: value may hold any bytes. */
static inline void tar_pax(struct strbuf *t, const char *key, struct str value)
{
    struct strbuf r;
    size_t body = strlen(key) + value.len + 3, len = body + 1;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof digits, "%zu", len) + body != len)
        len++;
    strbuf_init(&r, 4 << 20);
    strbuf_addf(&r, "%zu %s=", len, key);
    strbuf_add(&r, value);
    strbuf_addc(&r, '\n');
    tar_add(t, &(struct tar_entry){"PaxHeaders/x", 'x', 0644, NULL, strbuf_str(&r), 0});
    strbuf_done(&r);
}

static inline void tar_end(struct strbuf *t)
{
    static const char zeros[1024];
    strbuf_add(t, (struct str){zeros, sizeof zeros});
}

/* The text, `times` over, compressed (filter: ARCHIVE_FILTER_ZSTD, ARCHIVE_FILTER_GZIP). The caller frees out. */
static inline void tar_squeeze_times(struct str text, struct str again, uint64_t times, int filter, struct strbuf *out)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    size_t used = 0, cap = (text.len + (again.len > 0 ? (size_t)(times * again.len / 1000) : 0)) + (1 << 20);
    strbuf_init(out, cap);
    char *room = strbuf_grow(out, cap);
    PRE(room && archive_write_add_filter(a, filter) == ARCHIVE_OK && archive_write_set_format_raw(a) == ARCHIVE_OK);
    PRE(archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK);
    PRE(archive_write_open_memory(a, room, cap, &used) == ARCHIVE_OK);
    archive_entry_set_filetype(e, AE_IFREG);
    PRE(archive_write_header(a, e) == ARCHIVE_OK);
    PRE(archive_write_data(a, text.ptr, text.len) == (la_ssize_t)text.len);
    for (uint64_t i = 0; i < times; i++)
        PRE(archive_write_data(a, again.ptr, again.len) == (la_ssize_t)again.len);
    PRE(archive_write_close(a) == ARCHIVE_OK);
    out->len = used;
    archive_entry_free(e);
    archive_write_free(a);
}

static inline void tar_squeeze(const struct strbuf *t, struct strbuf *out)
{
    tar_squeeze_times(strbuf_str(t), STR_NONE, 0, ARCHIVE_FILTER_ZSTD, out);
}

#endif
