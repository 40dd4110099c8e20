/* A folder as a bundle, and export files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/export_file.h"
#include "cli/pack.h"
#include "common/crypto.h"

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int start(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/errand-pack-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in(const char *path)
{
    static char text[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(text[turn], sizeof text[turn], "%s/%s", folder, path);
    return text[turn];
}

static void put(const char *path, const char *content, mode_t mode)
{
    int fd = open(in(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* The digest of a folder of the test's; fails when it can't be packed. */
static void digest_of(const char *path, char ret_digest[72], int64_t *ret_files)
{
    struct pack p;
    struct strbuf why;
    strbuf_init(&why, 65536);
    if (pack_folder(in(path), &p, &why) != ERR_OK)
        fail_msg("%s", why.ptr);
    memcpy(ret_digest, p.digest, sizeof p.digest);
    *ret_files = p.files;
    pack_done(&p);
    strbuf_done(&why);
}

static void make(const char *at, bool last_first, time_t when, mode_t umask_of)
{
    static const struct {
        const char *path, *content;
        mode_t mode;
    } files[] = {{"a.py", "print(1)\n", 0644}, {"b/c.sh", "true\n", 0755}, {"b/d", "", 0600}, {"b-c", "x", 0640}};
    char path[128];
    assert_int_equal(mkdir(in(at), 0755), 0);
    snprintf(path, sizeof path, "%s/b", at);
    assert_int_equal(mkdir(in(path), (mode_t)(0777 & ~umask_of)), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        size_t n = last_first ? ARRAY_LEN(files) - 1 - i : i;
        snprintf(path, sizeof path, "%s/%s", at, files[n].path);
        put(path, files[n].content, (mode_t)(files[n].mode & ~umask_of));
        const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
        assert_int_equal(utimensat(AT_FDCWD, in(path), times, 0), 0);
    }
    snprintf(path, sizeof path, "%s/b/link", at);
    assert_int_equal(symlink("../a.py", in(path)), 0);
}

static void test_the_same_content_is_the_same_bundle(void **state)
{
    char first[72], second[72];
    int64_t files;
    (void)state;
    make("one", false, 1, 0);
    make("two", true, 1700000000, 0077);
    (void)setxattr(in("two/a.py"), "user.note", "x", 1, 0); /* where the file system has them */
    digest_of("one", first, &files);
    assert_int_equal(files, 6);
    digest_of("two", second, &files);
    assert_string_equal(first, second);
    /* What says what is packed is not packed, nor is what is never code. */
    put("two/.errandignore", "*.log\n", 0644);
    put("two/x.log", "x", 0644);
    assert_int_equal(mkdir(in("two/.git"), 0755), 0);
    assert_int_equal(mkdir(in("two/.errand"), 0755), 0);
    put("two/.errand/root-key", "x", 0600);
    digest_of("two", second, &files);
    assert_string_equal(first, second);
    /* Everything else counts: names, contents, what may be executed, links, empty folders. */
    static const struct {
        const char *path, *content;
        mode_t mode;
    } changes[] = {{"two/a.py", "print(2)\n", 0644}, {"two/a.py", "print(1)\n", 0755}, {"two/new", "", 0644}};
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        put(changes[i].path, changes[i].content, changes[i].mode);
        digest_of("two", second, &files);
        assert_string_not_equal(first, second);
        put("two/a.py", "print(1)\n", 0644);
    }
    assert_int_equal(unlink(in("two/new")), 0);
    digest_of("two", second, &files);
    assert_string_equal(first, second);
    assert_int_equal(mkdir(in("two/empty"), 0755), 0);
    digest_of("two", second, &files);
    assert_string_not_equal(first, second);
}

static void test_links_that_lead_out(void **state)
{
    static const struct {
        const char *path, *target;
        bool inside;
    } rows[] = {
        {"l", "a", true},         {"l", "./a/b", true},     {"l", ".", true},         {"d/l", "../a", true},
        {"d/e/l", "../..", true}, {"l", "..", false},       {"d/l", "../..", false},  {"d/l", "../../d/x", false},
        {"l", "/a", false},       {"l", "", false},         {"d/l", "a/../b", false}, {"d/l", "../a/..", false},
        {"d/l", "./../a", true},  {"d/l", ".//../a", true}, {"l", "...", true},       {"l", "a/..b", true},
        {"l", "./..", false},     {"d/l", "..//..", false}, {"l", "a//b/./c/", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (pack_link_stays_inside(str_of(rows[i].path), str_of(rows[i].target)) != rows[i].inside)
            fail_msg("%s -> %s", rows[i].path, rows[i].target);
    assert_false(pack_link_stays_inside(STR("l"), (struct str){"a\0b", 3}));
}

/* The complaint about the folder `bad`, to which the caller has done something. */
static void refused(const char *why_part)
{
    struct pack p;
    struct strbuf why;
    strbuf_init(&why, 65536);
    assert_int_equal(pack_folder(in("bad"), &p, &why), ERR_INVALID_FIELD);
    if (!strstr(why.ptr, why_part))
        fail_msg("'%s' is not in: %s", why_part, why.ptr);
    strbuf_done(&why);
}

static void test_what_is_no_code_is_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("bad"), 0755), 0);
    refused("nothing in it");
    put("bad/a", "x", 0644);
    assert_int_equal(mkfifo(in("bad/pipe"), 0644), 0);
    refused("pipe is no file");
    put("bad/.errandignore", "pipe\n", 0644);
    char digest[72];
    int64_t files;
    digest_of("bad", digest, &files);
    assert_int_equal(files, 1);
    put("bad/.errandignore", "pipe\nx[\n", 0644);
    refused("line 2");
    assert_int_equal(unlink(in("bad/.errandignore")), 0);
    assert_int_equal(unlink(in("bad/pipe")), 0);
    put("bad/na\xffme", "x", 0644);
    refused("not UTF-8");
    assert_int_equal(unlink(in("bad/na\xffme")), 0);
    assert_int_equal(mkdir(in("bad/d"), 0755), 0);
    assert_int_equal(symlink("../../x", in("bad/d/l")), 0);
    refused("d/l may lead out");
    assert_int_equal(unlink(in("bad/d/l")), 0);
    assert_int_equal(symlink("a", in("bad/.errandignore")), 0);
    struct pack p;
    struct strbuf why;
    strbuf_init(&why, 65536);
    assert_int_equal(pack_folder(in("bad"), &p, &why), ERR_IO); /* not read through a link */
    assert_int_equal(pack_folder(in("nowhere"), &p, &why), ERR_IO);
    strbuf_done(&why);
}

static void test_bounds_name_what_is_largest(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("bad"), 0755), 0);
    put("bad/small", "x", 0644);
    for (int i = 0; i < 2; i++) {
        put(i ? "bad/large" : "bad/larger", "", 0644);
        assert_int_equal(
            truncate(in(i ? "bad/large" : "bad/larger"), i ? LIMIT_BUNDLE_UNPACKED - 1 : LIMIT_BUNDLE_UNPACKED), 0);
    }
    refused("larger (536870912 bytes), large (536870911 bytes), small (1 bytes)");
    assert_int_equal(unlink(in("bad/large")), 0);
    refused("over 536870912 bytes");
    assert_int_equal(truncate(in("bad/larger"), 0), 0);
    assert_int_equal(mkdir(in("bad/many"), 0755), 0);
    int dir = open(in("bad/many"), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < LIMIT_BUNDLE_FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
    }
    close(dir);
    refused("more than 20000 entries");
    refused("are in many/ (");
}

/* ---- export files ---- */

static void write_export(const char *definition, struct str archive, struct strbuf *out)
{
    strbuf_init(out, EXPORT_FILE_MAX);
    assert_int_equal(export_write(str_of(definition), archive, out), ERR_OK);
}

static void test_an_export_is_read_as_it_was_written(void **state)
{
    struct strbuf file;
    struct export_file f;
    const char *why = NULL;
    char hex[65], definition[256];
    (void)state;
    crypto_sha256_hex(STR("the archive"), hex);
    snprintf(definition, sizeof definition, "{\"name\":\"a\",\"bundle\":\"sha256:%s\"}", hex);
    write_export(definition, STR("the archive"), &file);
    assert_int_equal(export_read(strbuf_str(&file), &f, &why), ERR_OK);
    assert_string_equal(f.definition.ptr, definition);
    assert_true(str_eqz(strbuf_str(&f.archive), "the archive"));
    assert_memory_equal(f.digest, "sha256:", 7);
    assert_string_equal(f.digest + 7, hex);
    export_done(&f);
    /* Each single byte of it that says something is looked at. */
    size_t refused_count = 0;
    for (size_t i = 0; i < file.len; i++) {
        file.ptr[i] ^= 1;
        if (export_read(strbuf_str(&file), &f, &why) == ERR_OK)
            export_done(&f);
        else
            refused_count++;
        file.ptr[i] ^= 1;
    }
    assert_true(refused_count > 1000);
    for (size_t len = 0; len < 1536 + 11; len += 7)
        assert_int_equal(export_read((struct str){file.ptr, len}, &f, &why), ERR_INVALID_FIELD);
    strbuf_done(&file);
    write_export("{\"name\":\"a\"}", STR(""), &file);
    assert_int_equal(export_read(strbuf_str(&file), &f, &why), ERR_OK);
    assert_true(f.archive.len == 0 && f.digest[0] == 0);
    export_done(&f);
    strbuf_done(&file);
}

static void test_an_export_that_does_not_fit_together(void **state)
{
    static const struct {
        const char *definition, *archive, *why;
    } rows[] = {
        {"{\"name\":\"a\"}", "x", "does not name"},
        {"{\"bundle\":\"sha256:00\"}", "x", "changed, or damaged"},
        {"{\"bundle\":\"sha256:00\"}", "", "no bundle.tar.zst"},
        {"{\"bundle\":1}", "x", "changed, or damaged"},
        {"[1]", "", "no JSON object"},
        {"{", "", "no JSON object"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf file;
        struct export_file f;
        const char *why = "";
        write_export(rows[i].definition, str_of(rows[i].archive), &file);
        assert_int_equal(export_read(strbuf_str(&file), &f, &why), ERR_INVALID_FIELD);
        if (!strstr(why, rows[i].why))
            fail_msg("'%s' is not in: %s", rows[i].why, why);
        strbuf_done(&file);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    if (crypto_start() != ERR_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_content_is_the_same_bundle), TEST(test_links_that_lead_out),
        TEST(test_what_is_no_code_is_refused_by_name),  TEST(test_bounds_name_what_is_largest),
        TEST(test_an_export_is_read_as_it_was_written), TEST(test_an_export_that_does_not_fit_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
