#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/output.h"
#include "cli/where.h"
#include "common/crypto.h"
#include "common/version.h"

#define OPTIONS_MAX    40
#define COMMON_OPTIONS 2

const struct command cli_commands[] = {
    {"run", "AGENT", "submit a run of an agent",
     "AGENT is the name of a registered agent; --file gives a definition of its own instead.\n"
     "Without --follow and --wait the id of the run is printed and the command ends.\n\n"
     "Examples:\n"
     "  errand run hello --follow\n"
     "  errand run repo-report --input '{\"path\": \".\"}' --follow\n"
     "  errand run log-triage --input @input.json --wait > result.json\n"
     "  errand run --file agent.json --env DEPTH=3 --label team=core\n"
     "  echo '{\"x\": 1}' | errand run mine --input - --priority high --delay 10m\n",
     cmd_run},
    {"follow", "ID", "show a run's events, live, until it ends",
     "Events that are past are shown first. A lost connection is taken up again by itself, also by another node,\n"
     "without a gap or a repetition. Ctrl-C leaves the run running.\n\n"
     "Examples:\n"
     "  errand follow ID\n"
     "  errand follow ID --after 120 --json\n",
     cmd_follow},
    {"show", "ID", "show a run's record", "Examples:\n  errand show ID\n  errand show ID --json | jq .result\n",
     cmd_show},
    {"list", "", "list runs, newest first",
     "Examples:\n"
     "  errand list\n"
     "  errand list --status error --since 24h\n"
     "  errand list --agent repo-report --label team=core --limit 500 --json\n"
     "  errand list --dead-letter\n",
     cmd_list},
    {"tree", "ID", "show a run and its child runs",
     "Examples:\n  errand tree ID\n  errand tree ID --json | jq .status\n", cmd_tree},
    {"stop", "ID...", "stop runs, with their process trees and child runs",
     "The agent gets SIGTERM, and after its grace time SIGKILL. A waiting run never starts.\n\n"
     "Examples:\n"
     "  errand stop ID\n"
     "  errand stop ID --wait\n",
     cmd_stop},
    {"input", "ID [LINE]", "send lines to a run's standard input",
     "Of an agent whose definition says \"stdin\": \"open\". Each line is one JSON value (--text: any text, sent as a\n"
     "string); without LINE, or with -, they are read from standard input. Each is taken once, in order.\n\n"
     "Examples:\n"
     "  errand input ID '{\"answer\":\"yes\"}'\n"
     "  errand input ID --text 'go on'\n"
     "  generate | errand input ID --close\n",
     cmd_input},
    {"rerun", "ID", "submit a run again, with the same input", "Examples:\n  errand rerun ID --follow\n", cmd_rerun},
    {"redrive", "ID...", "submit dead letters (runs that ended in error) again",
     "The new run has the same definition and input; the old one is no dead letter any more.\n\n"
     "Examples:\n"
     "  errand list --dead-letter\n"
     "  errand redrive ID\n",
     cmd_redrive},
    {"delete", "ID...", "delete runs that have ended", "Examples:\n  errand delete ID\n", cmd_delete},
    {"bulk", "stop|rerun|delete|redrive", "do something to all runs that the filters find",
     "Goes through them newest first, page by page; with --json each page's answer is a line. One that was\n"
     "interrupted says with which --cursor it goes on. Runs that it makes are none of those it looks at.\n\n"
     "Examples:\n"
     "  errand bulk stop --queue nightly --status queued\n"
     "  errand bulk redrive --agent repo-report --since 24h\n"
     "  errand bulk delete --until 30d --limit 100000\n"
     "  errand bulk stop --yes\n",
     cmd_bulk},
    {"logs", "ID", "show the tail of a run's standard error (100 lines; --lines up to 1000)",
     "Examples:\n  errand logs ID\n  errand logs ID --lines 20\n", cmd_logs},
    {"agents",
     "list | show NAME | put FILE | push DIR | versions NAME | rollback NAME [VERSION] | export NAME FILE |\n"
     "       import FILE | delete NAME",
     "the registered agents",
     "put registers a definition, or a new version of it. A \"workdir\" in the file that is not absolute is taken "
     "from\n"
     "the file's own folder. A run keeps the version it was submitted with.\n\n"
     "push packs a folder, uploads what the workspace does not have of it, and registers the folder's agent.json with\n"
     "that code: runners fetch it. Left out: .git, .errand, and what .errandignore says, which has patterns like\n"
     ".gitignore's, one a line (*, ?, **, a / at the end for folders, ! to take back, # for comments; no [a-z]).\n"
     "The same files give the same digest, wherever they are. A push that was interrupted goes on where it was.\n\n"
     "rollback registers an earlier version's definition again, as the newest one (default: the one before the\n"
     "newest). export writes definition and code into a file, import registers them from it, also elsewhere.\n\n"
     "Examples:\n"
     "  errand agents list\n"
     "  errand agents put examples/hello/agent.json\n"
     "  errand agents push examples/repo-report --name report\n"
     "  errand agents show hello --json\n"
     "  errand agents rollback report\n"
     "  errand agents export report report.tar && errand agents import report.tar --url https://errand.example.com\n"
     "  errand agents delete hello\n",
     cmd_agents},
    {"bundles", "list | show DIGEST | delete DIGEST", "the code of agents that is kept",
     "'errand agents push' makes them. One that a version of an agent, a run or a schedule names can't be deleted; a\n"
     "day after the last of these has gone it is removed by itself.\n\n"
     "Examples:\n"
     "  errand bundles\n"
     "  errand bundles show sha256:HEX --json\n"
     "  errand bundles delete sha256:HEX\n",
     cmd_bundles},
    {"artifacts", "list | get NAME [FILE] | put FILE | delete NAME", "what agents stored, and files for them",
     "get writes into FILE, else into a file of that name here, which is there when all of it has come and its digest\n"
     "fits; '-' is standard output. put stores a file, or standard input for '-', in parts where it is large (at most\n"
     "256 MiB); what stood under the name is replaced in one step. --kind has the other kinds of things.\n\n"
     "Examples:\n"
     "  errand artifacts\n"
     "  errand artifacts get report.pdf\n"
     "  errand artifacts get report.json - | jq .total\n"
     "  errand artifacts put model.bin --type application/octet-stream\n"
     "  errand artifacts put - --name plan.json --kind workflows < plan.json\n"
     "  errand artifacts delete report.pdf\n",
     cmd_artifacts},
    {"schedules", "list | show NAME | put [FILE] | delete NAME | pause NAME | resume NAME | trigger NAME",
     "what runs by the clock",
     "put makes a schedule, or replaces the one of that name: from a JSON file as PUT /v1/schedules/{name} takes it,\n"
     "or from the options. trigger runs one now, beside its ticks, and prints the id of the run.\n\n"
     "Examples:\n"
     "  errand schedules put --name nightly --cron '0 3 * * *' --time-zone Europe/London --agent repo-report\n"
     "  errand schedules put --name poll --every 5m --agent log-triage --input @input.json --overlap queue\n"
     "  errand schedules put schedule.json\n"
     "  errand schedules pause nightly\n"
     "  errand schedules trigger nightly\n",
     cmd_schedules},
    {"secrets", "list | set NAME | show NAME | delete NAME | rekey", "what agents are given and nobody is shown",
     "set stores a value, a new version of it: from the terminal without echo, from standard input, or from a file;\n"
     "one line end behind it is left out. An agent's env names it: {\"key\": \"API_KEY\", \"secret\": \"NAME\"}. "
     "rekey\n"
     "seals what is under an old master key with the current one; interrupted, it is begun again.\n\n"
     "Examples:\n"
     "  errand secrets set MODEL_KEY\n"
     "  errand secrets set MODEL_KEY --value-file model.key\n"
     "  errand secrets\n"
     "  errand secrets delete MODEL_KEY\n"
     "  errand secrets rekey\n",
     cmd_secrets},
    {"webhooks",
     "list | add | show ID | update ID | delete ID | rotate ID | deliveries ID | test ID | resend ID DELIVERY",
     "who is told of the ends of runs, and of events",
     "add and rotate print the id and the secret that signs, which is shown this once. update changes what is given\n"
     "and keeps the rest. deliveries shows the newest; the ID 'runs' stands for webhooks that runs bring along.\n\n"
     "Examples:\n"
     "  errand webhooks add --url https://example.com/hook --events run.error,run.stopped\n"
     "  errand webhooks update ID --agents repo-report,log-triage\n"
     "  errand webhooks rotate ID --overlap 2d\n"
     "  errand webhooks test ID\n"
     "  errand webhooks deliveries ID\n"
     "  errand webhooks resend ID DELIVERY\n",
     cmd_webhooks},
    {"runners", "list | drain ID", "the runner nodes",
     "drain lets a runner finish its runs and end, as SIGTERM does; ID is its id or its name.\n\n"
     "Examples:\n"
     "  errand runners\n"
     "  errand runners drain build-7\n",
     cmd_runners},
    {"queues", "list | show NAME | pause NAME | resume NAME | drain NAME | set NAME",
     "the queues: what waits in them, and pausing them",
     "Of a paused queue nothing is executed, and runs may be submitted; a draining one takes no new runs, and what\n"
     "waits is executed. resume ends both. WANTED is how many slots would start all that waits within a minute.\n\n"
     "Examples:\n"
     "  errand queues\n"
     "  errand queues show default --json\n"
     "  errand queues pause default\n"
     "  errand queues set default --max-waiting 10000\n",
     cmd_queues},
    {"workspaces", "list | show NAME | set NAME | delete NAME", "the settings of workspaces, and what they use",
     "set changes what is given and keeps the rest. A workspace needs no making: without settings it has weight 1 and\n"
     "no bounds of its own.\n\n"
     "Examples:\n"
     "  errand workspaces\n"
     "  errand workspaces set team-a --weight 4 --concurrency 50\n"
     "  errand workspaces set team-a --concurrency 0 --retention 2d\n"
     "  errand workspaces show team-a --json\n",
     cmd_workspaces},
    {"keys", "[list | scopes | whoami | create NAME --scope SCOPE… | show ID | rotate ID | revoke ID]",
     "make, list, rotate and revoke API keys",
     "A key belongs to one workspace and may do what its scopes say; --agent, --queue and --cidr narrow it further.\n"
     "It is shown once, on standard output, when it is made or rotated. A revoked key is of no use at once.\n"
     "Nobody can give more than the own key may do.\n\n"
     "Examples:\n"
     "  errand keys create ci --scope runs:create,runs:read --agent review --expires 90d\n"
     "  errand keys create app --scope '*' --rate 100/1s --cidr 192.0.2.0/24\n"
     "  errand keys rotate ID --overlap 1h\n"
     "  errand keys revoke ID\n",
     cmd_keys},
    {"login", "", "keep an API key for later commands",
     "Reads the key from standard input (not shown while it is typed), asks the API whose it is, and keeps it with\n"
     "mode 0600 in ~/.config/errand/credentials (or below XDG_CONFIG_HOME), for the address it was given for.\n"
     "ERRAND_KEY and the folder of 'errand dev' come before it.\n\n"
     "Examples:\n"
     "  errand login --url https://errand.example.com\n"
     "  errand login --url https://errand.example.com < key.txt\n",
     cmd_login},
    {"logout", "", "forget the API key that login kept",
     "The key itself stays valid; 'errand keys revoke ID' ends it.\n\nExamples:\n  errand logout\n", cmd_logout},
    {"audit", "[list] | export | verify", "who did what: the workspace's audit log",
     "list shows it as lines, oldest first; export writes all of it to standard output as NDJSON, with the seals of\n"
     "its hash chain. verify works the chain out again, of the log or of an export, says the first entry that does\n"
     "not fit (changed, removed, inserted, put elsewhere), and prints the head: note it down somewhere else, and give\n"
     "it to --expect next time, which also finds a log that was written anew as a whole.\n"
     "verify ends with 0 when all fits, with 1 when something does not.\n\n"
     "Examples:\n"
     "  errand audit\n"
     "  errand audit --since 7d --who root --what deleteRun\n"
     "  errand audit export > audit.ndjson\n"
     "  errand audit verify --file audit.ndjson\n"
     "  errand audit verify --expect \"$(cat head)\" --json | jq -r .head > head.new\n",
     cmd_audit},
    {"trust", "list | show NAME | put NAME FILE | delete NAME", "whose OIDC tokens are exchanged for which keys",
     "put makes a trust policy, or replaces the one of that name, from a JSON file (- for standard input) as\n"
     "PUT /v1/trust/{name} takes it. Once it is deleted no token is exchanged under it; keys that it gave out live on\n"
     "for their minutes.\n\n"
     "Examples:\n"
     "  errand trust\n"
     "  errand trust put deploy policy.json\n"
     "  errand trust show deploy --json\n"
     "  errand trust delete deploy\n",
     cmd_trust},
    {"token", "", "exchange a CI job's OIDC token for a short-lived key",
     "Prints the key, and nothing else on standard output. In GitHub Actions the job needs `permissions: id-token:\n"
     "write`. Each token is exchanged once.\n\n"
     "Examples:\n"
     "  errand token --policy deploy --audience errand\n"
     "  eval \"$(errand token --policy deploy --audience errand --export)\"\n"
     "  printf %s \"$CI_ID_TOKEN\" | errand token --policy deploy --token-file -\n",
     cmd_token},
    {"limits", "", "list every bound on what is accepted", "Examples:\n  errand limits\n  errand limits --json\n",
     cmd_limits},
    {"doctor", "", "check a deployment and say what to do",
     "Looks at Redis (ERRAND_REDIS_URL, or that of 'errand dev'), at the API, and at this machine.\n"
     "Ends with 1 when something is wrong.\n\n"
     "With --audit it reads Redis alone, and proves that every run is in exactly the structures that its status\n"
     "says, and that no lane, held entry, lease, counter, index entry, gate or key is there without its reason.\n"
     "It is safe while runs go on: what it finds was wrong in two looks. Redis is looked for as above, prefix and\n"
     "shards in ERRAND_PREFIX and ERRAND_SHARDS. Ends with 0 when nothing is found, with 1 when something is, with\n"
     "4 when Redis can't be read.\n\n"
     "Examples:\n"
     "  errand doctor\n"
     "  errand doctor --audit\n"
     "  errand doctor --audit --redis-url redis://10.0.0.5:6379/0 --shards 4 --json\n"
     "  ERRAND_REDIS_URL=redis://10.0.0.5:6379/0 errand doctor\n",
     cmd_doctor},
    {"keygen", "", "make a root key, or a master key",
     "Give it to every API node as ERRAND_ROOT_KEY, and to clients as ERRAND_KEY. It is not stored anywhere.\n"
     "With --master: the key that seals secrets in Redis, for every API node and runner as ERRAND_MASTER_KEY_FILE.\n\n"
     "Examples:\n"
     "  errand keygen > /etc/errand/root-key\n"
     "  errand keygen --master > /etc/errand/master-key\n",
     cmd_keygen},
    {"bench", "[submit|noop|ingress|latency|replay|fanout]", "measure a deployment under a load of its own",
     "Without a name: something of each, small, in less than a minute, with a table of what was measured.\n\n"
     "  submit   runs accepted a second; nobody executes them (--connections, --batch)\n"
     "  noop     runs a second from submit to end, of an agent that does nothing\n"
     "  ingress  events a second that remote runtimes post; its runs need a runner on this machine, or --tokens\n"
     "  latency  from a submit to the run's first event at a reader (--executor process, pool, noop; --rate)\n"
     "  replay   events a second of an ended run, to --readers; a run of --events, or --run\n"
     "  fanout   events a second of a live run, to --readers; a gap or a repetition is a failure\n\n"
     "It puts a load on the deployment, so one that is not on this machine wants --yes. Its runs carry the label\n"
     "errand-bench; they and its agent are removed at the end, also after Ctrl-C. The key needs runs:create, "
     "runs:read,\n"
     "runs:stop, runs:delete and agents:write (or --agent). It speaks plain HTTP, to the nodes of --url in turns, "
     "from\n"
     "one thread, and says when that thread was the limit. Ends with 1 when something failed.\n\n"
     "Examples:\n"
     "  errand bench\n"
     "  errand bench submit --connections 64 --seconds 10\n"
     "  errand bench noop --requests 20000 --json\n"
     "  errand bench latency --executor pool --rate 200\n"
     "  errand bench fanout --readers 10000 --events 100 --url http://10.0.0.5:7070,http://10.0.0.6:7070 --yes\n",
     cmd_bench},
    {"dev", "", "run everything on this machine: Redis, API nodes, runners",
     "Keeps data, logs and the key in .errand/ in this folder, where the other commands find them. Registers the\n"
     "examples, runs one on this repository and shows it. Ctrl-C ends everything.\n\n"
     "Examples:\n"
     "  errand dev\n"
     "  errand dev --once\n"
     "  errand dev --port 8080 --runners 4\n",
     cmd_dev},
    {0},
};

bool cli_flush(struct cli *cli)
{
    errno = 0;
    bool failed = fflush(stdout) != 0;
    int error = errno;
    if (!failed && !ferror(stdout))
        return true;
    /* What a print met on its way is known no more, but whether somebody still reads can be asked. */
    if (!cli->write_error)
        cli->write_error = failed && error ? error : output_gone() ? EPIPE : -1;
    return false;
}

void cli_say(const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "errand: %s\n", text);
}

int cli_usage_error(const struct command *command, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "errand %s: %s\n'errand %s --help' says more.\n", command->name, text, command->name);
    return EXIT_USAGE;
}

static void print_command_help(const struct command *command, const struct option *table, size_t count)
{
    struct strbuf out;
    strbuf_init(&out, 65536);
    strbuf_addf(&out, "usage: errand %s%s%s [options]\n\n%c%s.\n\noptions:\n", command->name,
                *command->arguments ? " " : "", command->arguments, command->summary[0] & ~0x20, command->summary + 1);
    options_help(table, count, &out);
    strbuf_addf(&out, "\n%s", command->text);
    fwrite(out.ptr, 1, out.len, stdout);
    strbuf_done(&out);
}

bool cli_options(struct cli *cli, const struct command *command, struct options *o, size_t min_words, int argc,
                 char **argv, int *ret_status)
{
    const struct option common[COMMON_OPTIONS] = {
        {.name = "json", .type = OPTION_FLAG, .target = &cli->json, .help = "JSON, one value a line"},
        {.name = "url",
         .type = OPTION_STRING,
         .target = &cli->url,
         .value = "URL[,URL...]",
         .help = "where the API is (else ERRAND_URL, or what 'errand dev' left here)"},
    };
    struct option table[OPTIONS_MAX];
    size_t common_count = o->local ? 0 : COMMON_OPTIONS;
    PRE(o->count + common_count < OPTIONS_MAX);
    if (o->count)
        memcpy(table, o->table, o->count * sizeof(*table));
    if (common_count)
        memcpy(table + o->count, common, sizeof(common));
    table[o->count + common_count] =
        (struct option){.name = "help", .letter = 'h', .type = OPTION_FLAG, .help = "this text"};
    struct options all = *o;
    all.table = table;
    all.count = o->count + common_count + 1;
    struct strbuf message;
    strbuf_init(&message, 2048);
    bool go_on = false;
    if (options_parse(&all, argc, argv, &message) != ERR_OK) {
        *ret_status = cli_usage_error(command, "%s", message.ptr ? message.ptr : "bad options");
    } else if (all.help) {
        print_command_help(command, all.table, all.count);
        *ret_status = EXIT_OK;
    } else if (all.word_count < min_words) {
        *ret_status = cli_usage_error(command, "%s is missing: errand %s %s",
                                      min_words > all.word_count + 1 ? "something" : "an argument", command->name,
                                      command->arguments);
    } else {
        o->word_count = all.word_count;
        go_on = true;
    }
    if (cli->json)
        cli->live = cli->color = false;
    strbuf_done(&message);
    return go_on;
}

struct client *cli_client(struct cli *cli)
{
    if (cli->client)
        return cli->client;
    struct where w;
    const char *why = NULL;
    if (where_find(cli->url, &w, &why) != ERR_OK) {
        cli_say("%s", why);
        return NULL;
    }
    cli->client = client_new(w.url, w.key);
    explicit_bzero(w.key, sizeof(w.key));
    if (!cli->client)
        cli_say("out of memory");
    return cli->client;
}

char *cli_read_file(const char *path, size_t max, size_t *ret_len)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    if (!f) {
        cli_say("%s can't be read: %s", path, strerror(errno));
        return NULL;
    }
    struct strbuf text;
    strbuf_init(&text, max);
    char buf[65536];
    size_t n;
    /* A terminal would be read on behind its end. */
    while (!feof(f) && (n = fread(buf, 1, sizeof(buf), f)) > 0)
        strbuf_add(&text, (struct str){buf, n});
    bool broken = ferror(f) != 0;
    int error = errno;
    if (!standard)
        fclose(f);
    if (broken || strbuf_failed(&text)) {
        if (broken)
            cli_say("%s can't be read: %s", standard ? "standard input" : path, strerror(error));
        else
            cli_say("%s is longer than %zu bytes", standard ? "standard input" : path, max);
        strbuf_done(&text);
        return NULL;
    }
    strbuf_addz(&text, "");
    *ret_len = text.len;
    char *taken = strbuf_take(&text);
    return taken ? taken : strdup("");
}

static void print_help(void)
{
    printf("usage: errand COMMAND [options]\n\nErrand runs agents: submit a run, watch it live from any node, stop it "
           "from anywhere.\n\ncommands:\n");
    for (const struct command *c = cli_commands; c->name; c++)
        printf("  %-10s %s\n", c->name, c->summary);
    printf("\n'errand COMMAND --help' explains a command and shows examples.\n\n"
           "  ERRAND_URL   where the API is; several addresses separated by commas (default %s)\n"
           "  ERRAND_KEY   the key to it\n"
           "Below a folder where 'errand dev' runs neither is needed.\n\n"
           "exit status: 0 success, 1 the run ended in error, 2 usage, 3 stopped, 4 unreachable or unauthorised,\n"
           "130 detached (Ctrl-C while following, or a reader of the output that goes away, leaves the run running).\n",
           DEFAULT_URL);
}

static const struct command *find_command(const char *name)
{
    for (const struct command *c = cli_commands; c->name; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

/* One of the options that each command takes, where the command should be. */
static bool is_common_option(const char *word)
{
    return strcmp(word, "--json") == 0 || strcmp(word, "--url") == 0 || strncmp(word, "--url=", 6) == 0;
}

static int unknown_command(const char *name)
{
    if (is_common_option(name)) {
        fprintf(stderr,
                "errand: options come after the command: errand COMMAND %s\n'errand --help' lists the commands.\n",
                name);
        return EXIT_USAGE;
    }
    const char *names[ARRAY_LEN(cli_commands)];
    size_t n = 0;
    for (const struct command *c = cli_commands; c->name; c++)
        names[n++] = c->name;
    const char *near = nearest_word(name, names, n);
    fprintf(stderr, "errand: unknown %s '%s'%s%s%s\n'errand --help' lists the commands.\n",
            *name == '-' ? "option" : "command", name, near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return EXIT_USAGE;
}

static void look_at_terminal(struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool dumb = !term || strcmp(term, "dumb") == 0;
    cli->no_color = no_color && *no_color;
    cli->color = isatty(STDOUT_FILENO) && !dumb && !cli->no_color;
    cli->live = isatty(STDERR_FILENO) && !dumb;
    struct winsize size;
    cli->width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
    if (argc < 2) {
        print_help();
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        printf("errand %s\n", ERRAND_VERSION);
        return EXIT_OK;
    }
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (help && argc < 3) {
        print_help();
        return EXIT_OK;
    }
    const struct command *command = find_command(help ? argv[2] : name);
    if (!command)
        return unknown_command(help ? argv[2] : name);
    static char help_word[] = "--help";
    char *help_argv[] = {help_word, NULL};
    return help ? command->run(cli, command, 1, help_argv) : command->run(cli, command, argc - 2, argv + 2);
}

void cli_open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The lowest free number is this one. In the wrong direction, so that a lost result is an error and not a silence. */
        (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

/* What could not be written (a full disk) is a failure; a reader that went away is not. */
static int end_output(struct cli *cli, int status)
{
    if (cli_flush(cli) || cli->write_error == EPIPE)
        return status;
    cli_say("standard output can't be written%s%s", cli->write_error > 0 ? ": " : "",
            cli->write_error > 0 ? strerror(cli->write_error) : "");
    return status == EXIT_OK ? EXIT_RUN_ERROR : status;
}

int cli_main(int argc, char **argv)
{
    /* A reader that has enough (errand list | head) ends us quietly by an error of write, not by a signal. */
    (void)signal(SIGPIPE, SIG_IGN);
    struct cli cli = {.program = argv[0]};
    look_at_terminal(&cli);
    if (crypto_start() != ERR_OK) {
        cli_say("the system gives no random numbers");
        return EXIT_RUN_ERROR;
    }
    int status = run_command(&cli, argc, argv);
    client_free(cli.client);
    return end_output(&cli, status);
}
