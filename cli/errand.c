/* errand: the command-line client. What it can do stands in cli.c. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    cli_open_standard();
    return cli_main(argc, argv);
}
