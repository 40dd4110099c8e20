#!/usr/bin/python3
"""Turns lua/*.lua into C: each script's whole text (includes expanded, arguments as locals) as a library of Redis functions, and a typed wrapper for it.

    gen.py --out DIR SCRIPT.lua…       writes DIR/scripts.h, DIR/scripts.c, DIR/scripts_sync.h (for tests/lua), DIR/expanded/NAME.lua (its lines are those that Redis' errors name)

A script's header is its interface:

    #!lua flags=allow-oom                     (optional first line)
    -- name: what it does
    -- READONLY                               (optional)
    -- GUARD                                  (optional: it may carry a key's rate limit, see include/guard.lua)
    -- GROUP                                  (optional: several calls that are on their way together may be one, see below)
    -- TABLE o                                (optional: the arguments are fields of this table, which is kept from call to call, so that nothing need be set for what is left out. A script changes nothing in it)
    -- INCLUDE keys time close                (files of lua/include/)
    -- ARGV
    --   field  type  prose                   types: str, int, num (an int, but text in Lua: what is only passed on need not be read and written anew), list, table(column type, …); str?, int?, list?: left out where it is empty, 0 or without items, so that few arguments are sent
    -- REPLY
    --   field  type  prose                   the same, and flat (a field/value array)
    -- ERRORS code code                       (of common/err.h)

Every script has one key, the shard's prefix (P). In ARGV a list is its count and its items, a table its count and its cells row by row. Those that may be left out stand behind all others, behind
a word with a letter for each that is there. A script returns {'ok', reply fields…}, {'code'}, or
{'code', reply fields…}; a list as an array of strings, a table as an array of arrays, rows (a table otherwise) as one array of all cells, row by row, which costs Redis less.

Includes are executed once, when the library is loaded (where Redis gives them no redis.call, nor Lua's own functions), the rest at each call. So what an include keeps at its top level outlives the call. What must not, and
what only a call can know, is set by its lines behind `-- EACH CALL`, up to an empty line, at the beginning of each call:

    local now_ms
    -- EACH CALL
    now_ms = …

A script that may be grouped has a second function, whose ARGV is that of several calls, one behind the other, each behind its number of words. It executes them in this order and returns an array of their replies; one that fails
is {'internal', why} there, and the others are as if it had come alone. Where `-- EACH FURTHER` says `full`, the rest is answered {'again'}, and sent once more, each alone: no group keeps Redis for long. `-- EACH CALL` is executed once for all of them, then what stands behind `-- EACH GROUP`; before the second and each further one `-- EACH FURTHER`; behind
the last one `-- END OF GROUP`; and behind the last one as well as behind one that came alone `-- AT END`. So a group may read once what all of its calls read, and write at its end what each of them counts (include/later.lua).

The same text is a script, too, for where Redis refuses the library: its first and its last line differ (struct script in common/script.h).
"""
import argparse
import hashlib
import os
import re
import string
import sys

SCALARS = ("str", "int", "num")  # num: an int that the script only passes on, so that it has it as the text that it came as
# What no field may be called: keywords of C, where it is a member, and for an argument what scripts need under that name, for there it is a local.
C_WORDS = set("""auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short signed sizeof static struct switch
    typedef union unsigned void volatile while""".split())
LUA_WORDS = set("""and end elseif false function in local nil not or repeat then true until P k call main one group argv_0 guarded KEYS ARGV redis cjson cmsgpack string table math tonumber tostring type ipairs pairs next select unpack
    error assert pcall""".split())


class Fault(Exception):
    """A header that can't be understood: file, line, what."""


class Field:
    def __init__(self, name, kind, columns, optional=False, flat=False):
        self.name, self.kind, self.columns, self.optional = name, kind, columns, optional  # columns: [(name, type)] of a table
        self.flat = flat  # a table whose rows are not arrays of their own

    def element(self, script):
        """The C type of one item of a list or table."""
        return "struct str" if self.kind == "list" else f"struct script_{script}_{self.name}"


class Script:
    def __init__(self, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.index = 0  # in scripts_all
        self.flags, self.read_only, self.guarded, self.grouped, self.includes = "", False, False, False, []
        self.table = ""
        self.argv, self.reply, self.errors = [], [], []
        self.body = ""
        self.prose = ""
        self.parse()

    def fault(self, number, text):
        raise Fault(f"{self.path}:{number}: {text}")

    def parse(self):
        with open(self.path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        at = 0
        if lines[0].startswith("#!"):
            self.flags, at = lines[0], 1
        section = None
        prose = []
        while at < len(lines) and lines[at].startswith("--"):
            line, number = lines[at][2:], at + 1
            at += 1
            word = line.strip().split(" ")[0] if line.strip() else ""
            if word == "READONLY":
                self.read_only = True
            elif word == "GUARD":
                self.guarded = True
            elif word == "TABLE":
                self.table = line.split()[1]
            elif word == "GROUP":
                self.grouped = True
            elif word == "INCLUDE":
                self.includes += [(name, number) for name in line.split()[1:]]
            elif word in ("ARGV", "REPLY"):
                section = self.argv if word == "ARGV" else self.reply
            elif word == "ERRORS":
                self.errors += [(code, number) for code in line.split()[1:]]
                section = None
            elif section is not None and line.startswith("   "):
                field = self.field(line.strip(), number, section is self.reply)
                if field.name in (known.name for known in section):
                    self.fault(number, f"{field.name!r} is named twice")
                section.append(field)
            elif section is None:
                prose.append(line.strip())
            else:
                self.fault(number, f"neither a field nor a section: {line.strip()!r}")
        if not prose or not prose[0].startswith(self.name + ": "):
            self.fault(1, f"the header must begin with `-- {self.name}: what it does`")
        self.prose = " ".join(prose)
        self.body = "\n".join(lines[at:])

    def field(self, text, number, in_reply):
        found = re.match(r"(\w+)\s+((?:table|rows)\(([^)]*)\)|\w+)(\?)?", text)
        if not found:
            self.fault(number, f"a field is `name type prose`, not {text!r}")
        name, kind, columns = found.group(1), found.group(2), []
        flat = False
        if found.group(3) is not None:
            flat, kind = kind.startswith("rows"), "table"
            if flat and not in_reply:
                self.fault(number, f"{name!r}: only a reply has rows; an argument is a table")
            for column in found.group(3).split(","):
                words = column.split()
                if len(words) != 2 or words[1] not in SCALARS + (("flat",) if in_reply else ()):
                    self.fault(number, f"a table's column is `name str` or `name int`, not {column.strip()!r}")
                columns.append((words[0], words[1]))
        elif kind not in SCALARS + ("list",) + (("flat",) if in_reply else ()):
            self.fault(number, f"unknown type {kind!r}")
        names = [name] + [column for column, _ in columns]
        for word in names:
            if word in C_WORDS or (not in_reply and word in LUA_WORDS):
                self.fault(number, f"{word!r} can't be a field's name: it means something else in {'C' if word in C_WORDS else 'Lua'}")
        if len(set(names[1:])) != len(columns):
            self.fault(number, f"a column of {name!r} is named twice")
        if in_reply and "num" in [kind, *(column_kind for _, column_kind in columns)]:
            self.fault(number, f"{name!r} of a reply is an int")
        optional = found.group(4) is not None
        if optional and (in_reply or kind == "table"):
            self.fault(number, f"only an argument that is a str, an int or a list may be left out, not {name!r}")
        if not in_reply and not optional and any(f.optional for f in self.argv):
            self.fault(number, f"{name!r} stands behind an argument that may be left out")
        return Field(name, kind, columns, optional, flat)

    # ---- Lua ----

    def locals(self):
        """The arguments as locals. Fixed ones first index directly; behind the first list or table a cursor walks. Of a grouped script they begin behind ARGV[argv_0]."""
        out = []
        base = "argv_0 + " if self.grouped else ""
        fields = [f for f in self.argv if not f.optional]
        rare = self.rare()
        while fields and fields[0].kind in SCALARS:
            field = fields.pop(0)
            out.append(f"{'' if self.table else 'local '}{self.at(field)} = {value(field.kind, f'{base}{len(out) + 1}')}")
        if fields or rare:
            first = f"{base}{len(out) + 1}"
            if not self.table:
                out += [f"local {', '.join(f.name for f in fields)}"] if fields else []
                out += [f"local {field.name} = {EMPTY[field.kind]}" for field, _ in rare]
            elif rare:  # what the last call was given
                out += [f"if {self.table}.given then {self.table}.given = nil", *(f"  {self.at(field)} = {EMPTY[field.kind]}" for field, _ in rare), "end"]
            out.append(f"do local argv_at, argv_n = {first}")
            for field in fields:
                out.append("  " + self.take(field))
            if rare:
                out.append("  local given = ARGV[argv_at]; if given ~= '' then argv_at = argv_at + 1" + (f"; {self.table}.given = true" if self.table else ""))
                out += [f"    if string.find(given, '{letter}', 1, true) then {self.take(field)} end" for field, letter in rare]
                out.append("  end")
            out.append("end")
        return out

    # What stands in ARGV, for programs that call a script without the C wrapper.

    def words(self, values):
        """ARGV, of the values by name; what is not named is '', 0 or empty."""
        words, given, behind = [], "", []
        letters = {field.name: letter for field, letter in self.rare()}
        for field in self.argv:
            value, into = values.get(field.name), words
            if field.optional:
                if not value:
                    continue
                given, into = given + letters[field.name], behind
            if field.kind in SCALARS:
                into.append(("" if field.kind == "str" else 0) if value is None else value)
                continue
            into.append(len(value or []))
            for row in value or []:
                into += [row] if field.kind == "list" else [row[column] for column, _ in field.columns]
        return words + ([given, *behind] if letters else [])

    def values(self, words):
        """The values by name that an ARGV (byte strings) gives, and the words behind them (a guard's)."""
        values, words, given = {}, list(words), None
        letters = {field.name: letter for field, letter in self.rare()}
        for field in self.argv:
            if field.optional and given is None:
                given = words.pop(0).decode()
            if field.optional and letters[field.name] not in given:
                continue
            if field.kind in SCALARS:
                values[field.name] = words.pop(0)
                continue
            n, width = int(words.pop(0)), 1 if field.kind == "list" else len(field.columns)
            cells, words = words[:n * width], words[n * width:]
            values[field.name] = cells if field.kind == "list" else [dict(zip([c for c, _ in field.columns], cells[i:i + width])) for i in range(0, len(cells), width)]
        return values, words

    def rare(self):
        """The arguments that may be left out, and the letters that say they are there."""
        return list(zip([f for f in self.argv if f.optional], string.ascii_letters))

    def at(self, field):
        return f"{self.table}.{field.name}" if self.table else field.name

    def take(self, field):
        name = self.at(field)
        if field.kind in SCALARS:
            return f"{name} = {value(field.kind, 'argv_at')}; argv_at = argv_at + 1"
        if field.kind == "list":  # at once, as far as Lua's stack has room in any case
            return (f"argv_n = ARGV[argv_at] + 0; {name} = {{unpack(ARGV, argv_at + 1, argv_at + (argv_n < 100 and argv_n or 100))}}; "
                    f"for i = 101, argv_n do {name}[i] = ARGV[argv_at + i] end; argv_at = argv_at + argv_n + 1")
        cells = ", ".join(f"{column} = {value(kind, f'argv_at + {at}')}" for at, (column, kind) in enumerate(field.columns, 1))
        return f"argv_n = ARGV[argv_at] + 0; {name} = {{}}; for i = 1, argv_n do {name}[i] = {{{cells}}}; argv_at = argv_at + {len(field.columns)} end; argv_at = argv_at + 1"

    def includes_once(self):
        seen = set()
        return [(name, number) for name, number in self.includes if not (name in seen or seen.add(name))]

    def expand(self, folder):
        """The text as a script. Its first line and its last one are a script's own; what lies between is the library's, too."""
        parts, each, begin, further, last, group_last = ["local P, call"], ["P, call = KEYS[1], redis.call"], [], [], [], []
        for include, number in self.includes_once():
            path = os.path.join(folder, include + ".lua")
            if not os.path.exists(path):
                self.fault(number, f"INCLUDE {include}: there is no {path}")
            with open(path, encoding="utf-8") as f:
                text = f.read().rstrip("\n") + "\n"
            for lines, pattern in ((each, "EACH CALL"), (begin, "EACH GROUP"), (further, "EACH FURTHER"), (last, "AT END"), (group_last, "END OF GROUP")):
                lines += [found.rstrip("\n") for found in section(pattern).findall(text)]
                text = section(pattern).sub("", text)
            parts.append(f"-- include {include}\n" + text.rstrip("\n"))
        if self.table:
            parts.append(f"local {self.table} = {{{', '.join(f'{field.name} = {EMPTY[field.kind]}' for field, _ in self.rare())}}} -- KEPT: each call sets all of it")
        each = ["-- each call", *each]
        own = [*self.locals(), f"-- {self.name}", self.body.strip("\n")]
        if self.grouped:
            parts += ["local function one(ARGV, argv_0)", *own, "end", "local function main(KEYS, ARGV)", *each, *(["local reply = one(ARGV, 0)", *last, "return reply"] if last else ["return one(ARGV, 0)"]), "end"]
        elif last:
            parts += ["local function one(ARGV)", *own, "end", "local function main(KEYS, ARGV)", *each, "local reply = one(ARGV)", *last, "return reply", "end"]
        else:
            parts += ["local function main(KEYS, ARGV)", *each, *own, "end"]
        if self.guarded:
            with open(os.path.join(folder, "guard.lua"), encoding="utf-8") as f:
                parts += ["local function guarded(KEYS, ARGV)", "call = redis.call", f.read().rstrip("\n"), "end"]
        if self.grouped:
            parts += ["local function group(KEYS, ARGV)", *each, *begin, "local replies, n, at, full = {}, 0, 1, false", "while ARGV[at] do", "if n > 0 then", *further, "end", "n = n + 1", "if full then", "replies[n] = {'again'}", "else",
                      "local done, reply = pcall(one, ARGV, at)", "replies[n] = done and reply or {'internal', type(reply) == 'table' and reply.err or reply}", "end", "at = at + 1 + ARGV[at]", "end", *group_last, *last, "return replies", "end"]
        parts.append(f"return {self.callback()}(KEYS, ARGV)")
        text = lean("\n".join([*parts, "group"])).removesuffix("group")  # named by the library's registrations only
        return (self.flags or f"-- {self.name}") + "\n" + text.replace("redis.call(", "call(")

    def callback(self):
        return "guarded" if self.guarded else "main"

    def registrations(self, function):
        """The library's last line. One that only reads has a second function for calls that carry a guard, for that one writes."""
        def register(name, flags, callback=self.callback()):
            flags = ", ".join(f"'{flag}'" for flag in flags)
            return f"redis.register_function{{function_name = '{name}', callback = {callback}, flags = {{{flags}}}}}"

        own = re.findall(r"[\w-]+", self.flags.partition("flags=")[2])
        if not self.read_only:
            return register(function, own) + ("; " + register(function + "_n", own, "group") if self.grouped else "")
        return register(function, ["no-writes"]) + ("; " + register(function + "_g", own) if self.guarded else "")

    # ---- C ----

    def struct_args(self):
        out = []
        for field in self.argv:
            if field.kind == "table":
                out += [f"struct script_{self.name}_{field.name} {{"] + [c_scalar(n, k) for n, k in field.columns] + ["};"]
        out.append(f"struct script_{self.name}_args {{")
        for field in self.argv:
            if field.kind in SCALARS:
                out.append(c_scalar(field.name, field.kind))
            else:
                out += [f"    const {field.element(self.name)} *{field.name};", f"    size_t {field.name}_len;"]
        if not self.argv:
            out.append("    char none;")
        return out + ["};"]

    def struct_reply(self):
        out = []
        for field in self.reply:
            if field.kind == "table":
                out += [f"struct script_{self.name}_{field.name} {{"] + [c_scalar(n, k) for n, k in field.columns] + ["};"]
        out.append(f"struct script_{self.name}_reply {{")
        for field in self.reply:
            if field.kind in SCALARS + ("flat",):
                out.append(c_scalar(field.name, field.kind))
            else:
                out += [f"    const {field.element(self.name)} *{field.name};", f"    size_t {field.name}_len;"]
        if not self.reply:
            out.append("    char none;")
        return out + ["};"]

    def declarations(self):
        return [f"/* {self.prose} */", *self.struct_args(), *self.struct_reply(),
                f"typedef void (*script_{self.name}_fn)(void *ctx, enum err err, const struct script_{self.name}_reply *reply);",
                f"void script_call_{self.name}(struct redis *r, struct str shard_prefix, const struct script_{self.name}_args *args, script_{self.name}_fn fn, void *ctx);", ""]

    def library(self, text):
        """Of a script's stripped text: the name of the library, which is its function's, the lines that both forms have, and the library."""
        _, *lines, _ = text[:-1].split("\n")
        function = f"errand_{self.name}_{hashlib.sha1(text.encode()).hexdigest()[:16]}"
        return function, lines, "\n".join([f"#!lua name={function}", *lines, self.registrations(function)]) + "\n"

    def definitions(self, text):
        n = self.name
        text = stripped(text)
        first, last = text.split("\n", 1)[0], text[:-1].rsplit("\n", 1)[1]
        function, lines, _ = self.library(text)
        guarded = function + ("_g" if self.read_only and self.guarded else "")
        out = [f"static const char text_{n}[] ="]
        out += ["    " + c_string(line + "\n") for line in lines]
        out[-1] += ";"
        out += [f"static const struct script script_{n} = {{", f'    .name = "{n}",', f'    .function = "{function}",', f'    .guarded_function = "{guarded}",', *([f'    .group_function = "{function}_n",'] if self.grouped else []), f"    .text = text_{n},", f"    .text_len = sizeof text_{n} - 1,",
                f"    .begin = {c_string(first)},", f"    .end = {c_string(last)},", f"    .registrations = {c_string(self.registrations(function))},",
                f'    .sha1 = "{hashlib.sha1(text.encode()).hexdigest()}",', f"    .index = {self.index},", f"    .read_only = {'true' if self.read_only else 'false'},",
                f"    .guarded = {'true' if self.guarded else 'false'},", "};"]
        out += self.reply_parser() + self.caller()
        return out

    def reply_parser(self):
        n = self.name
        out = [f"static void on_{n}(void *ctx, enum err err, const redisReply *reply)", "{",
               "    struct pending *p = ctx;", f"    script_{n}_fn fn = (script_{n}_fn)p->fn;", "    void *user = p->ctx;", "    free(p);",
               f"    struct script_{n}_reply out;", "    memset(&out, 0, sizeof out);", "    bool whole = reply != NULL;"]
        frees = []
        if self.reply:
            out.append(f"    whole = whole && reply->elements >= {len(self.reply) + 1};")
        for i, field in enumerate(self.reply, 1):
            at = f"redis_at(reply, {i})"
            if field.kind == "str":
                out.append(f"    whole = whole && read_str({at}, &out.{field.name});")
            elif field.kind == "int":
                out.append(f"    whole = whole && read_int({at}, &out.{field.name});")
            elif field.kind == "flat":
                out.append(f"    whole = whole && read_flat({at}, &out.{field.name});")
            else:
                items = "of_" + field.name  # no name of a header can hide a local of the function
                frees.append(f"    free({items});")
                out += [f"    {field.element(n)} *{items} = whole ? read_array({at}, sizeof *{items}, {len(field.columns) if field.flat else 1}, &out.{field.name}_len) : NULL;",
                        f"    out.{field.name} = {items};", f"    whole = whole && {items};",
                        f"    for (size_t i = 0; whole && i < out.{field.name}_len; i++) {{"]
                if not field.flat:
                    out.append(f"        const redisReply *row = redis_at({at}, i);")
                if field.kind == "list":
                    out.append(f"        whole = read_str(row, &{items}[i]);")
                else:
                    for c, (name, kind) in enumerate(field.columns):
                        cell = f"redis_at({at}, i * {len(field.columns)} + {c})" if field.flat else f"redis_at(row, {c})"
                        out.append(f"        whole = whole && read_{kind}({cell}, &{items}[i].{name});")
                out.append("    }")
        out += ["    if (!err && !whole) {", f'        LOG_ERROR("script reply has a wrong shape", LOG_Z("script", "{n}"));', "        err = ERR_INTERNAL;", "    }",
                "    if (fn)", "        fn(user, err, whole ? &out : NULL);", *frees, "}"]
        return out

    def caller(self):
        n = self.name
        rare = self.rare()
        count = [str(sum(f.kind in SCALARS for f in self.argv) + (1 if rare else 0))]
        for f in self.argv:
            if f.kind not in SCALARS:
                count.append(f"1 + args->{f.name}_len" + (f" * {len(f.columns)}" if f.kind == "table" else ""))
        out = [f"void script_call_{n}(struct redis *r, struct str shard_prefix, const struct script_{n}_args *args, script_{n}_fn fn, void *ctx)", "{",
               "    struct args a;", f"    args_init(&a, {' + '.join(count)});"]
        if not self.argv:
            out.append("    (void)args;")
        out += sum((self.give(f) for f in self.argv if not f.optional), [])
        if rare:
            out += [f"    char given[{len(rare)}];", "    size_t given_len = 0;"]
            out += [f"    if ({self.there(f)})\n        given[given_len++] = '{letter}';" for f, letter in rare]
            out.append("    args_str(&a, (struct str){given, given_len});")
            for f, _ in rare:
                out += [f"    if ({self.there(f)}) {{", *("    " + line for line in self.give(f)), "    }"]
        return out + [f"    args_call(&a, r, &script_{n}, shard_prefix, (void (*)(void))fn, on_{n}, ctx);", "}", ""]

    @staticmethod
    def there(f):
        return f"args->{f.name}" + {"str": ".len > 0", "int": " != 0", "num": " != 0", "list": "_len > 0"}[f.kind]

    @staticmethod
    def give(f):
        if f.kind in SCALARS:
            return [f"    args_{'str' if f.kind == 'str' else 'int'}(&a, args->{f.name});"]
        out = [f"    args_int(&a, (int64_t)args->{f.name}_len);", f"    for (size_t i = 0; i < args->{f.name}_len; i++) {{"]
        if f.kind == "list":
            out.append(f"        args_str(&a, args->{f.name}[i]);")
        else:
            out += [f"        args_{'str' if kind == 'str' else 'int'}(&a, args->{f.name}[i].{name});" for name, kind in f.columns]
        return out + ["    }"]

    # ---- C of the tests: the call as a function that returns when it is answered; the reply is copied ----

    def sync(self):
        n = self.name
        out = [f"static inline void sync_on_{n}(void *ctx, enum err err, const struct script_{n}_reply *reply)", "{", "    struct harness_call *call = ctx;",
               f"    struct script_{n}_reply *copy = reply ? harness_copy(call->harness, reply, sizeof *reply) : NULL;"]
        if any(field.kind != "int" for field in self.reply):
            out.append("    if (copy) {")
        for field in self.reply:
            if field.kind in ("str", "flat"):
                out.append(f"        copy->{field.name} = harness_copy_{field.kind}(call->harness, reply->{field.name});")
            elif field.kind != "int":
                items = "of_" + field.name
                out.append(f"        {field.element(n)} *{items} = harness_copy(call->harness, reply->{field.name}, reply->{field.name}_len * sizeof *{items});")
                columns = [("", "str")] if field.kind == "list" else [("." + name, kind) for name, kind in field.columns]
                copies = [f"            {items}[i]{member} = harness_copy_{kind}(call->harness, {items}[i]{member});" for member, kind in columns if kind != "int"]
                if copies:
                    out += [f"        for (size_t i = 0; i < reply->{field.name}_len; i++) {{", *copies, "        }"]
                out.append(f"        copy->{field.name} = {items};")
        if any(field.kind != "int" for field in self.reply):
            out.append("    }")
        out += ["    harness_call_done(call, err, copy);", "}", "",
                f"static inline enum err sync_{n}(struct harness *h, const struct script_{n}_args *args, const struct script_{n}_reply **ret_reply)", "{",
                f'    struct harness_call *call = harness_call_new(h, "{n}");', f"    script_call_{n}(h->redis, h->prefix, args, sync_on_{n}, call);",
                "    const void *reply = harness_call_wait(call);", "    if (ret_reply)", "        *ret_reply = reply;", "    return call->err;", "}", ""]
        return out


# ---- What a script does not need is left out: Redis holds each library in memory, compiled and as a text ----


def section(name):
    """What stands behind `-- name`, up to an empty line."""
    return re.compile(rf"^-- {name}\n((?:.+\n)+)", re.M)


KEY_NAME = re.compile(r"^  (\w+) = (?:function\(([\w, ]*)\) return (.*) end|(P .*)),(?: --.*)?$", re.M)
TOP_LOCAL = re.compile(r"^local function (\w+)\((?!.* end$).*\n(?:(?!end$).*\n)*end\n|^local (\w+) = \{.*\}(?: --.*)?\n|^local (\w+) = \{ *\n(?:(?!\}$).*\n)*\}\n", re.M)


def arguments(text, at):
    """The arguments of a call whose parenthesis was opened before `at`, and where they end; None where a string hides what is what."""
    out, depth, begin = [], 0, at
    while at < len(text) and text[at] not in "\n\"":
        if text[at] == "'":
            at = text.index("'", at + 1)
        elif text[at] in "([{":
            depth += 1
        elif text[at] == "," and depth == 0:
            out.append(text[begin:at].strip())
            begin = at + 1
        elif text[at] in ")]}":
            depth -= 1
            if depth < 0:
                return out + [text[begin:at].strip()], at + 1
        at += 1
    return None, at


def inline_keys(text):
    """Writes the names of keys where they are used: k.run(id) as (P .. 'run:' .. id)."""
    table = re.search(r"^local k = \{\n(?:.*\n)*?\}\n", text, re.M)
    if not table:
        return text
    known = {name: (params.split(", ") if params else [], expression or constant) for name, params, expression, constant in KEY_NAME.findall(table.group(0))}
    use = re.compile(r"\bk\.(\w+)(\(?)")

    def inlined(rest):
        out, at = "", 0
        while found := use.search(rest, at):
            out, at = out + rest[at:found.start()], found.end()
            params, expression = known.get(found.group(1), ([], ""))
            given, end = arguments(rest, at) if found.group(2) else ([], at)
            words = re.split(r"('[^']*'|\b\w+\b)", expression)
            simple = given is not None and all(words.count(p) == 1 or re.fullmatch(r"[\w.]+|'[^']*'", g) for p, g in zip(params, given))
            if not expression or not simple or len(params) != len(given):
                out += found.group(0)
                continue
            values = dict(zip(params, (inlined(g) if re.fullmatch(r"[\w.]+|'[^']*'", g) else f"({inlined(g)})" for g in given)))
            out, at = f"{out}({''.join(values.get(word, word) for word in words)})", end
        return out + rest[at:]

    head, tail = text[:table.start()], inlined(text[table.end():])
    left = {name for name, _ in use.findall(tail)}
    kept = [line for line in table.group(0).splitlines()[1:-1] if KEY_NAME.match(line).group(1) in left]
    return head + ("\n".join(["local k = {", *kept, "}"]) + "\n" if kept else "") + tail


def lean(text):
    """Without functions and tables that nothing names, and with the names of keys in place."""
    text = inline_keys(text)
    while True:
        words = re.findall(r"\w+", re.sub(r"--.*", "", text))
        count = {}
        for word in words:
            count[word] = count.get(word, 0) + 1
        shorter = TOP_LOCAL.sub(lambda found: "" if count.get(next(filter(None, found.groups())), 0) == 1 else found.group(0), text)
        if shorter == text:
            return text
        text = shorter


def stripped(text):
    """Without comments and indentation, line by line."""
    code = re.compile(r"""\s*((?:[^'"-]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-(?!-))*)""")
    return "".join((line if line.startswith("#!") else code.match(line).group(1).rstrip()) + "\n" for line in text[:-1].split("\n"))


EMPTY = {"str": "''", "int": "0", "num": "'0'", "list": "{}"}


def value(kind, at):
    """An argument: adding nothing makes a number of a text, for less than tonumber takes."""
    return f"ARGV[{at}]" + (" + 0" if kind == "int" else "")


def c_scalar(name, kind):
    return {"str": f"    struct str {name};", "int": f"    int64_t {name};", "num": f"    int64_t {name};", "flat": f"    const redisReply *{name};"}[kind]


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("?", "\\?") + '"'


PRELUDE = r'''
struct pending {
    void (*fn)(void);
    void *ctx;
};

/* Arguments on their way: numbers are printed into the same allocation. */
struct args {
    struct str *argv;
    char (*digits)[24];
    size_t n, cap;
};

static void args_init(struct args *a, size_t count)
{
    a->n = 0;
    a->cap = count;
    a->argv = malloc((count + 1) * (sizeof *a->argv + sizeof *a->digits));
    PRE(a->argv);
    a->digits = (char(*)[24])(void *)(a->argv + count + 1);
}

static inline void args_str(struct args *a, struct str s)
{
    PRE(a->n < a->cap);
    a->argv[a->n++] = s;
}

static inline void args_int(struct args *a, int64_t v)
{
    PRE(a->n < a->cap);
    a->argv[a->n] = (struct str){a->digits[a->n], decimal(a->digits[a->n], v)};
    a->n++;
}

static void args_call(struct args *a, struct redis *r, const struct script *s, struct str key, void (*fn)(void), script_reply_fn on_reply, void *ctx)
{
    struct pending *p = malloc(sizeof *p);
    PRE(p && a->n <= a->cap); /* some may be left out */
    p->fn = fn;
    p->ctx = ctx;
    script_call(r, s, key, a->n, a->argv, on_reply, p);
    free(a->argv);
}

static inline bool read_str(const redisReply *r, struct str *ret)
{
    *ret = redis_str(r);
    return r && r->type == REDIS_REPLY_STRING;
}

static inline bool read_int(const redisReply *r, int64_t *ret)
{
    int64_t low = redis_int(r, -1), high = redis_int(r, -2); /* two defaults tell "-1" from "no number" */
    *ret = low;
    return low == high;
}

static inline bool read_flat(const redisReply *r, const redisReply **ret)
{
    *ret = r;
    return r && r->type == REDIS_REPLY_ARRAY && r->elements % 2 == 0;
}

/* Room for the items of an array, each of which stands in that many elements. */
static inline void *read_array(const redisReply *r, size_t size, size_t elements, size_t *ret_len)
{
    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements % elements != 0)
        return NULL;
    *ret_len = r->elements / elements;
    return calloc(*ret_len + 1, size);
}
'''


def error_codes(path):
    with open(path, encoding="utf-8") as f:
        return set(re.findall(r'X\(ERR_\w+, "(\w+)"', f.read()))


def write_if_changed(path, text):
    """Leaves an unchanged file's time alone, so that nothing is compiled for it."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    parser = argparse.ArgumentParser(description="generates C wrappers for Errand's Lua scripts")
    parser.add_argument("--out", required=True)
    parser.add_argument("scripts", nargs="+")
    options = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(options.scripts[0]))
    codes = error_codes(os.path.join(folder, "..", "common", "err.h"))
    os.makedirs(os.path.join(options.out, "expanded"), exist_ok=True)
    note = "/* Generated by lua/gen.py from lua/: edit there. */"
    header = [note, "#ifndef ERRAND_LUA_SCRIPTS_H", "#define ERRAND_LUA_SCRIPTS_H", "", '#include "common/script.h"', ""]
    source = [note, '#include "lua/scripts.h"', "", "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", "", '#include "common/log.h"', PRELUDE]
    sync = [note, "/* For tests/lua: each script as a call that returns when it is answered. A reply lives as long as the harness' test does; ret_reply may be NULL, and gets NULL",
            " * where a reply carried no fields. */", "#ifndef ERRAND_LUA_SCRIPTS_SYNC_H", "#define ERRAND_LUA_SCRIPTS_SYNC_H", "", '#include "harness.h"', '#include "lua/scripts.h"', ""]
    names = []
    for index, path in enumerate(sorted(options.scripts)):
        script = Script(path)
        script.index = index
        for code, number in script.errors:
            if code not in codes:
                script.fault(number, f"ERRORS: {code} is not in common/err.h")
        text = script.expand(os.path.join(folder, "include"))
        write_if_changed(os.path.join(options.out, "expanded", script.name + ".lua"), text)
        header += script.declarations()
        source += script.definitions(text)
        sync += script.sync()
        names.append(script.name)
    header += ["extern const struct script *const scripts_all[];", "extern const size_t scripts_all_len;", "", "#endif", ""]
    source += [f'_Static_assert({len(names)} <= SCRIPTS_MAX, "common/script.h");', "const struct script *const scripts_all[] = {" + ", ".join(f"&script_{n}" for n in names) + "};", f"const size_t scripts_all_len = {len(names)};", ""]
    write_if_changed(os.path.join(options.out, "scripts.h"), "\n".join(header))
    write_if_changed(os.path.join(options.out, "scripts.c"), "\n".join(source))
    write_if_changed(os.path.join(options.out, "scripts_sync.h"), "\n".join(sync + ["#endif", ""]))


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"gen.py: {fault}")
