"""What a machine's death leaves of the append-only file, and what the container's start makes of it (docker/redis.sh mend)."""
import os

HALF = "redis.call('SET', KEYS[1], 'first'); redis.call('SET', KEYS[2], string.rep('x', 100)); return 1"


def torn(redis, at):
    """Redis is down, and its file ends within a script's transaction, `at` bytes before its end."""
    redis.command("SET", "before", "1")
    redis.command("EVAL", HALF, "2", "{t}one", "{t}two")
    size = redis.aof_size()
    redis.kill9()
    os.truncate(redis.aof_path(), size - at)


def restarted(redis):
    redis.start()
    redis.command("EVAL", HALF, "2", "{t}three", "{t}four")
    redis.kill9()
    redis.start()
    return {name: redis.command("EXISTS", name) for name in ("before", "{t}one", "{t}two", "{t}three", "{t}four")}


def test_half_a_transaction_does_not_come_back(redis):
    """Cut within EXEC, and within a value: nothing of it is there, then and after another restart; what came before it, and after, is."""
    for at in (3, 60):
        torn(redis, at)
        redis.mend_aof()
        assert restarted(redis) == {"before": 1, "{t}one": 0, "{t}two": 0, "{t}three": 1, "{t}four": 1}
        redis.command("FLUSHALL")


def test_what_is_broken_further_up_is_left_as_it_is(redis):
    """A whole file, and one whose middle is no command: not a byte is cut off."""
    for i in range(100):
        redis.command("SET", f"key{i}", "x" * 65536)
    redis.kill9()
    size = redis.aof_size()
    redis.mend_aof()
    assert redis.aof_size() == size
    with open(redis.aof_path(), "r+b") as f:
        f.seek(size // 4)
        f.write(b"?" * 70000)
    redis.mend_aof()
    assert redis.aof_size() == size
