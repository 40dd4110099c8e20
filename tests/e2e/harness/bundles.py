"""Bundles in Redis as uploads leave them, and the tar archives that they are made of."""
import glob
import hashlib
import io
import os
import subprocess
import tarfile

from . import agents

CHUNK = 524288


def member(name, data=b"", mode=0o644, kind=tarfile.REGTYPE, link=""):
    """(TarInfo, data) for `pack`."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(data), mode, kind, link
    return info, data


def pack(files=None, members=()):
    """An archive: `files` is {path: text or bytes}, executable where it begins with #!; `members` come behind, as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (files or {}).items():
            data = data.encode() if isinstance(data, str) else data
            info, data = member(name, data, 0o755 if data.startswith(b"#!") else 0o644)
            tar.addfile(info, io.BytesIO(data))
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if data else None)
    return squeeze(out.getvalue())


def squeeze(data):
    """With zstd."""
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def digest(archive):
    return "sha256:" + hashlib.sha256(archive).hexdigest()


def store(stack, archive, workspace="default", named=None, chunk=CHUNK, **fields):
    """Puts an archive where an upload puts it. `named`: the digest it pretends to have; `fields` replace what is kept of it. Returns the digest."""
    named = named or digest(archive)
    key = f"{stack.shard()}bundle:{workspace}:{named[7:]}"
    chunks = [archive[i:i + chunk] for i in range(0, len(archive), chunk)]
    about = {"bytes": len(archive), "chunks": len(chunks), "chunkBytes": chunk, "files": 1, "unpacked": 1, "created": 1, "done": 1, "refs": 0, **fields}
    for n, data in enumerate(chunks):
        stack.redis.command("SET", f"{key}:{n}", data)
    stack.redis.command("HSET", key, *[word for pair in about.items() for word in pair])
    return named


def agent(digest, command=("/usr/bin/python3", "agent.py"), **fields):
    """A definition that is that bundle's."""
    return agents.process(list(command), name="bundled", bundle=digest, **fields)


def cache_of(stack):
    """Where its runners keep bundles."""
    return os.path.join(stack.folder, "cache")


def starting(stack, api):
    """A fixture's generator: starts runners with caches in the test's folder."""
    def make(**options):
        env = {"ERRAND_BUNDLE_CACHE_DIR": cache_of(stack), **{f"ERRAND_{k.upper()}": v for k, v in options.items()}}
        return stack.runner(api=api, env=env)
    yield make
    for path, _, _ in os.walk(cache_of(stack)):  # sealed folders, of which nobody but root could remove anything
        try:
            os.chmod(path, 0o700)
        except OSError:  # removed meanwhile
            pass


def entries(stack):
    """Complete entries of all caches, as their folders."""
    return sorted(os.path.dirname(p) for p in glob.glob(os.path.join(cache_of(stack), "*", "*", "*", "complete")))


def leftovers(stack):
    """Folders of the cache that are on their way in or out."""
    return [p for p in glob.glob(os.path.join(cache_of(stack), "*", "*")) if os.path.basename(p).split("-")[0] in ("work", "gone")]


def incomplete(stack):
    """Entries that are there and not complete."""
    found = glob.glob(os.path.join(cache_of(stack), "*", "*", "*"))
    return [p for p in found if len(p.split("/")[-2]) == 32 and os.path.isdir(p) and not os.path.exists(os.path.join(p, "complete"))]
