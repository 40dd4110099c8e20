/* Archives as anybody may upload them. The input is a tar, which is compressed here, for no fuzzer gets far through zstd; and it is taken as it comes, too. Whatever is unpacked, what lies beside the root stays as it was,
 * and every link stays inside. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/bundle_requirements.h"
#include "runner/bundle_unpack.h"
#include "runner/tree.h"
#include "tests/unit/tar_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack_into(const char *base, struct str packed)
{
    static const struct unpack_bounds bounds = {1 << 20, 100};
    char root[128], outside[128], why[UNPACK_WHY] = "";
    struct stat st;
    int64_t bytes;
    snprintf(root, sizeof root, "%s/root", base);
    snprintf(outside, sizeof outside, "%s/outside", base);
    int mark = open(outside, O_WRONLY | O_CREAT | O_TRUNC, 0600), fd;
    POST(mark >= 0 && mkdir(root, 0700) == 0 && (fd = open(root, O_RDONLY | O_DIRECTORY)) >= 0);
    close(mark);
    enum err err = bundle_unpack(-1, packed, fd, &bounds, why);
    close(fd);
    POST(err == ERR_OK || why[0]);
    for (const char *c = why; *c; c++)
        POST((unsigned char)*c >= ' ' && *c != 0x7f);
    POST(err != ERR_OK || tree_seal(root, NULL, &bytes) == ERR_OK); /* which looks at each link once more */
    POST(stat(outside, &st) == 0 && st.st_size == 0 && st.st_nlink == 1 && (st.st_mode & 07777) == 0600);
    tree_remove(root);
    POST(unlink(outside) == 0 && rmdir(base) == 0); /* nothing else came into it */
    POST(mkdir(base, 0700) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char base[] = "/dev/shm/errand-fuzz-XXXXXX";
    struct str text = {(const char *)data, size};
    struct strbuf packed;
    int line;
    bool valid;
    (void)requirements_fault(text, &line);
    (void)package_wants(text, &valid);
    if (size > 1 << 18 || !mkdtemp(base))
        return 0;
    unpack_into(base, text);
    tar_squeeze_times(text, STR_NONE, 0, ARCHIVE_FILTER_ZSTD, &packed);
    unpack_into(base, strbuf_str(&packed));
    strbuf_done(&packed);
    rmdir(base);
    return 0;
}
