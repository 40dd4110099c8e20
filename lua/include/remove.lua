-- Removes an ended run with everything of it, and cuts its readers. What may be large is unlinked: Redis frees it beside its work.
local function run_remove(run)
  redis.call('UNLINK', k.run(run.id), k.events(run.id), k.logs(run.id), k.stdin(run.id), k.input(run.id), k.env(run.id))
  if redis.call('HEXISTS', k.stopq, run.id) == 0 then
    redis.call('UNLINK', k.children(run.id)) -- else the stop of its tree still needs it, and removes it
  end
  redis.call('ZREM', k.idx(run.ws, ''), run.id)
  if run.agent ~= '' then
    redis.call('ZREM', k.idx(run.ws, run.agent), run.id)
  end
  if run.parent ~= '' then
    redis.call('ZREM', k.children(run.parent), run.id)
  end
  if run.deadLetter ~= '' then
    redis.call('ZREM', k.dead(run.ws), run.id)
  end
  if run.kept ~= '' then
    redis.call('ZREM', k.kept(run.ws, ''), run.id)
    redis.call('ZREM', k.kept(run.ws, run.agent), run.id)
  end
  if run.follow ~= '' then
    redis.call('ZREM', k.follow, run.id)
  end
  redis.call('ZREM', k.retain, run.id, 'e:' .. run.id, 'r:' .. run.id)
  local bytes = (tonumber(run.size) or 0) + (run.droppedTo == '' and tail_read(run.tail).z or 0)
  if bytes > 0 then
    add_count(k.use(run.ws), 'bytes', fmt(-bytes))
  end
  def_unref(run.def)
  wake(run.id, 'gone')
end
local REMOVE_FIELDS = {'ws', 'agent', 'parent', 'def', 'deadLetter', 'kept', 'size', 'made', 'tail', 'droppedTo', 'result', 'follow'}
