/* Replays a fuzz target over the files of its corpus folders, where libFuzzer is not linked in: `replay-X DIR…`. Fails when it finds no file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    struct stat st;
    int ran = 0;
    if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= 64 << 20) {
        size_t size = (size_t)st.st_size;
        uint8_t *data = malloc(size ? size : 1); /* exact, so that ASan sees a read past the end */
        if (data && fread(data, 1, size, f) == size) {
            LLVMFuzzerTestOneInput(data, size);
            ran = 1;
        }
        free(data);
    }
    fclose(f);
    return ran;
}

int main(int argc, char **argv)
{
    int ran = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d)
            continue;
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            if (snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name) < (int)sizeof path)
                ran += replay_file(path);
        }
        closedir(d);
    }
    printf("%d inputs replayed\n", ran);
    return ran ? 0 : 1;
}
