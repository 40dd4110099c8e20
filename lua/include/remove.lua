-- Removes an ended run with everything of it, and cuts its readers.
local function run_remove(run)
  redis.call('DEL', k.run(run.id), k.events(run.id), k.logs(run.id))
  if redis.call('HEXISTS', k.stopq, run.id) == 0 then
    redis.call('DEL', k.children(run.id)) -- else the stop of its tree still needs it, and removes it
  end
  redis.call('ZREM', k.idx(run.ws, ''), run.id)
  if run.agent ~= '' then
    redis.call('ZREM', k.idx(run.ws, run.agent), run.id)
  end
  if run.parent ~= '' then
    redis.call('ZREM', k.children(run.parent), run.id)
  end
  redis.call('ZREM', k.retain, run.id)
  def_unref(run.def)
  wake(run.id, 'gone')
end
local REMOVE_FIELDS = {'ws', 'agent', 'parent', 'def'}
