/* Attacks on the unpacker: each archive is refused with a sentence that names the entry, and nothing beside the root is touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/bundle_unpack.h"
#include "runner/tree.h"
#include "tar_rig.h"

static const struct unpack_bounds bounds = {LIMIT_BUNDLE_UNPACKED, LIMIT_BUNDLE_FILES};

/* A folder with `root`, to be unpacked into, between two things that must stay as they are: a file `outside` and a folder `beside`. */
struct place {
    char base[64], root[96];
    int fd;
    char why[UNPACK_WHY];
};

static void path_in(const struct place *p, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", p->base, name);
}

static void make_place(struct place *p)
{
    char path[256];
    snprintf(p->base, sizeof p->base, "/tmp/errand-unpack-XXXXXX");
    assert_non_null(mkdtemp(p->base));
    snprintf(p->root, sizeof p->root, "%s/root", p->base);
    assert_int_equal(mkdir(p->root, 0700), 0);
    path_in(p, "outside", path);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write(fd, "as it was", 9), 9);
    close(fd);
    path_in(p, "beside", path);
    assert_int_equal(mkdir(path, 0755), 0);
    p->fd = open(p->root, O_RDONLY | O_DIRECTORY);
    assert_true(p->fd >= 0);
    p->why[0] = 0;
}

static size_t count_in(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void read_text(const struct place *p, const char *name, char out[64])
{
    char path[256];
    path_in(p, name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, out, 63);
    assert_true(n >= 0);
    out[n] = 0;
    close(fd);
}

/* Nothing outside the root was changed, made or removed. */
static void check_outside(const struct place *p)
{
    char path[256], text[64];
    struct stat st;
    assert_int_equal(count_in(p->base), 3);
    path_in(p, "beside", path);
    assert_int_equal(count_in(path), 0);
    path_in(p, "outside", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(st.st_mode & 07777, 0644);
    read_text(p, "outside", text);
    assert_string_equal(text, "as it was");
}

static void leave_place(struct place *p)
{
    close(p->fd);
    tree_remove(p->base);
    assert_int_not_equal(access(p->base, F_OK), 0);
}

static enum err unpack(struct place *p, struct str packed)
{
    return bundle_unpack(-1, packed, p->fd, &bounds, p->why);
}

/* The archive, ended and compressed, is refused, and the sentence has both texts. */
static void refused(struct strbuf *t, const char *entry, const char *reason)
{
    struct place p;
    struct strbuf packed;
    make_place(&p);
    tar_end(t);
    tar_squeeze(t, &packed);
    enum err err = unpack(&p, strbuf_str(&packed));
    if (err != ERR_INVALID_FIELD || !strstr(p.why, entry) || !strstr(p.why, reason))
        fail_msg("wanted \"%s\" and \"%s\", got %s: %s", entry, reason, err_code(err), p.why);
    check_outside(&p);
    for (const char *c = p.why; *c; c++)
        assert_true((unsigned char)*c >= ' ');
    strbuf_done(&packed);
    strbuf_done(t);
    leave_place(&p);
}

static struct strbuf tar(void)
{
    struct strbuf t;
    strbuf_init(&t, 256 << 20);
    return t;
}

static void takes_what_is_right(void **state)
{
    (void)state;
    struct place p;
    struct strbuf t = tar(), packed;
    char text[64], path[256], target[64] = "";
    struct stat st;
    make_place(&p);
    tar_dir(&t, "./");
    tar_file(&t, "./agent.py", "print(1)");
    tar_add(&t, &(struct tar_entry){"bin/run", '0', 0755, NULL, STR("#!/bin/sh"), 0});
    tar_dir(&t, "bin");
    tar_link(&t, "lib/run", "../bin/run");
    tar_link(&t, "nothing", "not/there");
    tar_hard(&t, "twin", "agent.py");
    tar_pax(&t, "path", STR("na\xc3\xafve/\xe2\x82\xac.txt"));
    tar_file(&t, "x", "euro");
    tar_end(&t);
    tar_squeeze(&t, &packed);
    enum err err = unpack(&p, strbuf_str(&packed));
    assert_string_equal(p.why, "out of memory"); /* untouched but for its beginning */
    assert_int_equal(err, ERR_OK);
    read_text(&p, "root/agent.py", text);
    assert_string_equal(text, "print(1)");
    read_text(&p, "root/lib/run", text);
    assert_string_equal(text, "#!/bin/sh");
    read_text(&p, "root/na\xc3\xafve/\xe2\x82\xac.txt", text);
    assert_string_equal(text, "euro");
    path_in(&p, "root/bin/run", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0555);
    path_in(&p, "root/twin", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    assert_int_equal(st.st_nlink, 2);
    path_in(&p, "root/lib/run", path);
    assert_true(readlink(path, target, sizeof target - 1) > 0);
    assert_string_equal(target, "../bin/run");
    int64_t bytes = 0;
    assert_int_equal(tree_seal(p.root, NULL, &bytes), ERR_OK);
    assert_true(bytes > 4096);
    path_in(&p, "root/bin", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0555);
    check_outside(&p);
    strbuf_done(&t);
    strbuf_done(&packed);
    leave_place(&p); /* a sealed one too */
}

static void refuses_paths_that_leave(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reason;
    } cases[] = {
        {"../outside", "\"..\""},
        {"a/../../outside", "\"..\""},
        {"a/./../..", "path has a"},
        {"./../outside", "\"..\""},
        {"/etc/errand-x", "absolute"},
        {"//etc/errand-x", "absolute"},
        {"a//b", "empty name"},
        {"..", "\"..\""},
        {"a/..", "\"..\""},
        {"a/b/../../../x", "\"..\""},
        {"a/./b", "\".\""},
        {"././x", "\".\""},
        {"a\nb", "control"},
        {"a\x1b[2Jb", "control"},
        {"a\x7f", "control"},
        {"caf\xe9", "UTF-8"},
        {"", "no name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf t = tar();
        tar_file(&t, "fine", "x");
        tar_file(&t, cases[i].name, "overwritten");
        refused(&t, "", cases[i].reason);
    }
    char absolute[64] = "/tmp/errand-absolute";
    struct strbuf t = tar();
    tar_file(&t, absolute, "x");
    refused(&t, absolute, "absolute");
    assert_int_not_equal(access(absolute, F_OK), 0);
}

static void refuses_them_in_longer_forms(void **state)
{
    (void)state;
    struct strbuf t = tar();
    tar_pax(&t, "path", STR("../outside"));
    tar_file(&t, "harmless", "overwritten");
    refused(&t, "../outside", "\"..\"");
    t = tar();
    tar_add(&t, &(struct tar_entry){"././@LongLink", 'L', 0644, NULL, STR("sub/../../outside\0"), 0});
    tar_file(&t, "harmless", "overwritten");
    refused(&t, "sub/../../outside", "\"..\"");
    t = tar();
    tar_pax(&t, "linkpath", STR("../outside"));
    tar_link(&t, "harmless", "fine");
    refused(&t, "harmless", "outside of the bundle");
    t = tar();
    tar_add(&t, &(struct tar_entry){"././@LongLink", 'K', 0644, NULL, STR("/etc/passwd\0"), 0});
    tar_link(&t, "harmless", "fine");
    refused(&t, "harmless", "absolute");
    /* ustar's prefix field */
    t = tar();
    tar_file(&t, "outside", "x");
    char *h = t.ptr;
    memcpy(h + 345, "../", 3);
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    refused(&t, "../", "path has a");
}

/* libarchive ends a name at its NUL; what is left of it is a name as any other. */
static void cuts_a_name_at_its_nul(void **state)
{
    (void)state;
    struct place p;
    struct strbuf t = tar(), packed;
    make_place(&p);
    tar_pax(&t, "path", STR("short\0/../../outside"));
    tar_file(&t, "harmless", "x");
    tar_end(&t);
    tar_squeeze(&t, &packed);
    enum err err = unpack(&p, strbuf_str(&packed));
    assert_true(err == ERR_INVALID_FIELD || (err == ERR_OK && count_in(p.root) == 1));
    check_outside(&p);
    strbuf_done(&t);
    strbuf_done(&packed);
    leave_place(&p);
}

static void refuses_links_outward(void **state)
{
    (void)state;
    static const char *const targets[] = {"/etc/passwd", "..",       "../outside",     "a/../../outside",
                                          "./../x",      "../../..", "a/b/../../../x", "/"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct strbuf t = tar();
        tar_link(&t, "leaves", targets[i]);
        refused(&t, "leaves", "its link");
    }
    /* Each by itself stays inside; one after the other they leave. */
    struct strbuf t = tar();
    tar_link(&t, "d/up", "..");
    tar_link(&t, "out", "d/up/..");
    refused(&t, "out", "through other links");
    t = tar();
    tar_link(&t, "d/e/up", "../..");
    tar_link(&t, "first", "d/e/up");
    tar_link(&t, "d/second", "../first/d/e/up/../../outside");
    refused(&t, "d/second", "through other links");
    t = tar();
    tar_link(&t, "x", "y");
    tar_link(&t, "y", "x");
    refused(&t, "x", "to itself");
}

static void writes_through_no_link(void **state)
{
    (void)state;
    struct strbuf t = tar();
    tar_dir(&t, "real");
    tar_link(&t, "door", "real");
    tar_file(&t, "door/file", "x");
    refused(&t, "door", "twice");
    t = tar(); /* a link first, a folder of that name then */
    tar_link(&t, "door", "real");
    tar_dir(&t, "door");
    refused(&t, "door", "twice");
    t = tar(); /* a folder replaced by a link */
    tar_dir(&t, "door");
    tar_file(&t, "door/a", "x");
    tar_link(&t, "door", "real");
    tar_file(&t, "door/b", "x");
    refused(&t, "door", "twice");
    t = tar(); /* a file replaced by a link, and written again */
    tar_link(&t, "f", "../outside");
    tar_file(&t, "f", "overwritten");
    refused(&t, "f", "outside");
    t = tar();
    tar_file(&t, "f", "one");
    tar_file(&t, "f", "two");
    refused(&t, "f", "twice");
    t = tar();
    tar_file(&t, "f", "one");
    tar_file(&t, "f/g", "two");
    refused(&t, "f/g", "no folder");
    t = tar(); /* a link below a link */
    tar_link(&t, "door", "real");
    tar_link(&t, "door/inner", "x");
    refused(&t, "door", "twice");
}

static void refuses_hard_links_outward(void **state)
{
    (void)state;
    static const struct {
        const char *target, *reason;
    } cases[] = {{"/etc/passwd", "absolute"},
                 {"../outside", "\"..\""},
                 {"a/../../outside", "\"..\""},
                 {"missing", "no file"},
                 {"no/such/file", "not in the bundle"},
                 {"folder", "no file"},
                 {"link", "no file"},
                 {".", "a folder"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf t = tar();
        tar_dir(&t, "folder");
        tar_link(&t, "link", "folder");
        tar_hard(&t, "hard", cases[i].target);
        refused(&t, "hard", cases[i].reason);
    }
    struct strbuf t = tar();
    tar_file(&t, "f", "x");
    tar_add(&t, &(struct tar_entry){"hard", '1', 0644, "f", STR("other contents"), 0});
    struct place p;
    struct strbuf packed;
    make_place(&p);
    tar_end(&t);
    tar_squeeze(&t, &packed);
    (void)!unpack(&p, strbuf_str(&packed)); /* refused, or its contents passed over: never written over f */
    char text[64];
    read_text(&p, "root/f", text);
    assert_string_equal(text, "x");
    check_outside(&p);
    strbuf_done(&t);
    strbuf_done(&packed);
    leave_place(&p);
}

static void refuses_other_kinds(void **state)
{
    (void)state;
    static const struct {
        char type;
        const char *reason;
    } cases[] = {{'3', "device"}, {'4', "device"}, {'6', "fifo"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf t = tar();
        tar_add(&t, &(struct tar_entry){"odd", cases[i].type, 0644, NULL, STR_NONE, 0});
        refused(&t, "odd", cases[i].reason);
    }
    static const unsigned modes[] = {04755, 02755, 01755};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct strbuf t = tar();
        tar_add(&t, &(struct tar_entry){"bits", i == 2 ? '5' : '0', modes[i], NULL, STR_NONE, 0});
        refused(&t, "bits", "setuid");
    }
}

static void refuses_bombs(void **state)
{
    (void)state;
    static char zeros[1 << 20];
    struct strbuf t = tar(), packed;
    struct place p;
    /* 10 GiB that say so: refused by the header. Here 1 GiB is really there; the header is enough. */
    tar_header(&t, &(struct tar_entry){"big", '0', 0644, NULL, STR_NONE, UINT64_C(10) << 30});
    tar_squeeze_times(strbuf_str(&t), (struct str){zeros, sizeof zeros}, 600, ARCHIVE_FILTER_ZSTD, &packed);
    make_place(&p);
    assert_int_equal(unpack(&p, strbuf_str(&packed)), ERR_INVALID_FIELD);
    assert_non_null(strstr(p.why, "\"big\""));
    assert_non_null(strstr(p.why, "more than 536870912 bytes"));
    assert_int_equal(count_in(p.root), 0);
    strbuf_done(&packed);
    /* Zeros behind the end of the archive: no file at all, and yet endless. */
    strbuf_reset(&t);
    tar_file(&t, "small", "x");
    tar_end(&t);
    tar_squeeze_times(strbuf_str(&t), (struct str){zeros, sizeof zeros}, 700, ARCHIVE_FILTER_ZSTD, &packed);
    assert_int_equal(unpack(&p, strbuf_str(&packed)), ERR_INVALID_FIELD);
    assert_non_null(strstr(p.why, "more than it may"));
    strbuf_done(&packed);
    strbuf_done(&t);
    check_outside(&p);
    leave_place(&p);
}

static void refuses_many_small_ones_over_the_bytes(void **state)
{
    (void)state;
    const struct unpack_bounds small = {1000, 100};
    struct place p;
    struct strbuf t = tar(), packed;
    char data[400], name[16];
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "f%d", i);
        tar_add(&t, &(struct tar_entry){name, '0', 0644, NULL, {data, sizeof data}, 0});
    }
    tar_end(&t);
    tar_squeeze(&t, &packed);
    make_place(&p);
    assert_int_equal(bundle_unpack(-1, strbuf_str(&packed), p.fd, &small, p.why), ERR_INVALID_FIELD);
    assert_non_null(strstr(p.why, "\"f2\": with it the bundle unpacks to more than 1000 bytes"));
    strbuf_done(&packed);
    strbuf_done(&t);
    leave_place(&p);
}

static void refuses_too_many(void **state)
{
    (void)state;
    struct strbuf t = tar();
    char name[64];
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "f%06d", i);
        tar_file(&t, name, "");
    }
    refused(&t, "f020000", "more than 20000 files");
    t = tar(); /* folders that nobody named count too */
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "%04d/a/b/c/d/e/f/g/h/i/j/k/l", i);
        tar_file(&t, name, "");
    }
    refused(&t, "/a/b", "more than 20000 files");
}

static void refuses_the_deep_and_the_long(void **state)
{
    (void)state;
    char path[4096] = "", name[300];
    struct strbuf t = tar();
    for (int i = 0; i < 70; i++)
        strcat(path, "d/"); /* NOLINT: a test's own */
    tar_pax(&t, "path", str_of(path));
    tar_file(&t, "x", "");
    refused(&t, "d/d/d", "too deep");
    t = tar();
    memset(name, 'n', 256);
    name[256] = 0;
    tar_pax(&t, "path", str_of(name));
    tar_file(&t, "x", "");
    refused(&t, "nnn", "a name in its path is too long");
    t = tar();
    path[0] = 0;
    for (int i = 0; i < 40; i++)
        strcat(path, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz/"); /* NOLINT: a test's own */
    tar_pax(&t, "path", str_of(path));
    tar_file(&t, "x", "");
    refused(&t, "abc", "path is too long");
    t = tar();
    tar_pax(&t, "linkpath", str_of(path));
    tar_link(&t, "l", "x");
    refused(&t, "\"l\"", "too long");
}

static void refuses_sparse_files(void **state)
{
    (void)state;
    struct strbuf t = tar();
    tar_pax(&t, "GNU.sparse.realsize", STR("5000000"));
    tar_file(&t, "x", "data"); /* the old form: 0.0, with its map beside */
    struct strbuf with_map = tar();
    const char records[] =
        "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=holey\n31 GNU.sparse.realsize=5000000\n";
    tar_add(&with_map, &(struct tar_entry){"PaxHeaders/x", 'x', 0644, NULL, {records, sizeof records - 1}, 0});
    char map[516] = "1\n4999996\n4\n";
    memcpy(map + 512, "tail", 4);
    tar_add(&with_map, &(struct tar_entry){"x", '0', 0644, NULL, {map, sizeof map}, 0});
    refused(&with_map, "", "");
    strbuf_done(&t);
}

static void whole(struct str packed, const char *reason)
{
    struct place p;
    make_place(&p);
    enum err err = unpack(&p, packed);
    if (err != ERR_INVALID_FIELD || !strstr(p.why, reason))
        fail_msg("wanted \"%s\", got %s: %s", reason, err_code(err), p.why);
    check_outside(&p);
    leave_place(&p);
}

static void refuses_what_is_no_such_archive(void **state)
{
    (void)state;
    struct strbuf t = tar(), packed, gz;
    static char noise[100000];
    unsigned x = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)((x = x * 1103515245 + 12345) >> 16);
    tar_add(&t, &(struct tar_entry){"noise", '0', 0644, NULL, {noise, sizeof noise}, 0});
    tar_end(&t);
    tar_squeeze(&t, &packed);
    whole((struct str){packed.ptr, packed.len / 2}, "refused");
    whole((struct str){packed.ptr, packed.len - 1}, "refused");
    whole(STR(""), "refused");
    whole(STR("PK\003\004 this begins as a zip"), "no tar archive compressed with zstd");
    whole(STR("some text"), "no tar archive compressed with zstd");
    whole(strbuf_str(&t), "no tar archive compressed with zstd"); /* a tar that is not compressed */
    tar_squeeze_times(strbuf_str(&t), STR_NONE, 0, ARCHIVE_FILTER_GZIP, &gz);
    whole(strbuf_str(&gz), "no tar archive compressed with zstd");
    strbuf_done(&gz);
    tar_squeeze_times(STR("zstd around no tar"), STR_NONE, 0, ARCHIVE_FILTER_ZSTD, &gz);
    whole(strbuf_str(&gz), "refused");
    strbuf_done(&gz);
    struct strbuf longer;
    strbuf_init(&longer, packed.len + 100);
    strbuf_add(&longer, strbuf_str(&packed));
    strbuf_addz(&longer, "garbage behind it");
    whole(strbuf_str(&longer), "refused");
    strbuf_done(&longer);
    strbuf_reset(&t);
    tar_end(&t);
    struct strbuf empty;
    tar_squeeze(&t, &empty);
    whole(strbuf_str(&empty), "nothing in it");
    strbuf_done(&empty);
    strbuf_done(&t);
    strbuf_done(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_right),
        cmocka_unit_test(refuses_paths_that_leave),
        cmocka_unit_test(refuses_them_in_longer_forms),
        cmocka_unit_test(cuts_a_name_at_its_nul),
        cmocka_unit_test(refuses_links_outward),
        cmocka_unit_test(writes_through_no_link),
        cmocka_unit_test(refuses_hard_links_outward),
        cmocka_unit_test(refuses_other_kinds),
        cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(refuses_many_small_ones_over_the_bytes),
        cmocka_unit_test(refuses_too_many),
        cmocka_unit_test(refuses_the_deep_and_the_long),
        cmocka_unit_test(refuses_sparse_files),
        cmocka_unit_test(refuses_what_is_no_such_archive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
