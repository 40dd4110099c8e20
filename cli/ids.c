#include "cli/ids.h"

#include "common/id.h"

bool run_id_ok(struct str id)
{
    struct id parsed;
    return id_parse(id, &parsed);
}

int run_id_complain(const struct command *command, const char *id)
{
    return cli_usage_error(command, "'%s' is no run's id; 'errand list' shows them", id);
}
