-- The ends of attempts and of runs. Fields that these functions want of a run (the usual end, a success, comes by with fewer: run_active):
local CLOSE_FIELDS = {'ws', 'queue', 'req', 'reqText', 'agent', 'def', 'priority', 'made', 'started', 'epoch', 'inc', 'attempt', 'failures', 'losses', 'maxAttempts', 'stopAt', 'rid',
  'claimSeq', 'claimT', 'claimStatus', 'claimResult', 'claimError', 'claimRetry', 'claimWarnings', 'lane', 'laneId', 'due', 'gates', 'gated', 'waitGate', 'deps', 'depsLeft', 'dependents', 'startBy', 'size',
  'hook', 'hookUrl', 'hookSecret', 'asked', 'inputLast'}
local CLOSE_POLICY = {'maxAttempts', 'atMostOnce', 'backoffType', 'backoffBaseMs', 'backoffCapMs', 'retryOn', 'noRetryOn'}
local RETAIN_POLICY = {'retainMs', 'retainEventsMs', 'retainResultMs', 'retainCount'}
local CLAIM_FIELDS = {'claimLine', 'claimSeq', 'claimT', 'claimStatus', 'claimResult', 'claimError', 'claimRetry', 'claimWarnings'}
local KEPT_STEP = 10 -- most runs given up by a count when one ends
local TPUT_MS, TPUT_RUN = 900000, 1000000000000

-- What the end of a success wants of a run that executes: little, where it has nothing of that of which the field `extra` tells (stopAt, claimStatus, gates, dependents, hookUrl, asked, inputLast, or a definition that says how
-- long it is kept): whoever writes one of these writes `extra` as well, and a claim does for what was there before it.
local PLAIN = {__index = {plain = true, stopAt = '', claimStatus = '', gates = '', dependents = '', hookUrl = '', asked = '', inputLast = ''}}
local function run_active(id)
  local v = redis.call('HMGET', k.run(id), 'status', 'ws', 'queue', 'made', 'attempt', 'epoch', 'inc', 'started', 'extra')
  if not v[1] or v[9] then
    return run_get(id, CLOSE_FIELDS)
  end
  return setmetatable({id = id, status = v[1], ws = v[2], queue = v[3] or DEFAULTS.queue, made = v[4], attempt = v[5] or '0', epoch = v[6] or '0', inc = v[7] or '', started = v[8] or '', closed = false}, PLAIN)
end

-- And where it is another end after all, the rest of CLOSE_FIELDS.
local function run_rest(run)
  if run.plain then
    run.plain = false
    for name, value in pairs(run_get(run.id, CLOSE_FIELDS)) do
      run[name] = value
    end
  end
end

-- Takes the run off its runner. What its record is to say of the attempt's end goes along with what it says next: fields and values in run.closed.
local function attempt_close(run, status, by, err, exit_code)
  local n = run.attempt
  local fields = {'a' .. n .. ':end', status .. ' ' .. by .. ' ' .. now_text() .. (exit_code and exit_code ~= '' and ' ' .. exit_code or '')}
  if err and err ~= '' then
    fields[3], fields[4] = af(n, 'error'), err
  end
  run.closed = fields
  gone_later(k.held(run.inc), run.id)
end

-- The run is one of those that a count keeps: older ones go.
local function keep_newest(run, key, n)
  later_write()
  redis.call('ZADD', key, now_us, run.id)
  local over = redis.call('ZCARD', key) - n
  if over > 0 then
    for _, old in ipairs(redis.call('ZRANGE', key, 0, math.min(over, KEPT_STEP) - 1)) do
      redis.call('ZREM', key, old)
      redis.call('ZADD', k.retain, 'XX', now_ms, old)
    end
  end
end

-- How long an ended run is kept: what its agent says, else its workspace (theirs: its four numbers, `-` for one that is not there; nil for none at all), else the caller. Its result and events may go earlier; a count
-- keeps the newest ones. True where one does.
local function run_retain(run, o, retention_ms, theirs)
  if run.plain and not theirs then
    entry_later(k.retain, fmt(now_ms + retention_ms), run.id)
    return false
  end
  local own, their = run.plain and {} or redis.call('HMGET', k.def(run.def), unpack(RETAIN_POLICY)), split(theirs or '')
  local function number(i)
    return tonumber(own[i] or '') or tonumber(their[i] or '')
  end
  local whole, events, result = number(1) or retention_ms, number(2), number(3)
  entry_later(k.retain, fmt(now_ms + whole), run.id)
  if events and events < whole then
    redis.call('ZADD', k.retain, now_ms + events, 'e:' .. run.id)
  end
  if result and result < whole and (o.result or '') ~= '' then
    redis.call('ZADD', k.retain, now_ms + result, 'r:' .. run.id)
  end
  local own_count, their_count = tonumber(own[4] or ''), tonumber(their[4] or '')
  if own_count and run.agent ~= '' then
    keep_newest(run, k.kept(run.ws, run.agent), own_count)
  end
  if their_count then
    keep_newest(run, k.kept(run.ws, ''), their_count)
  end
  return their_count or (own_count and run.agent ~= '')
end

-- What ended in a queue in this minute, for statistics: by status one number, the runs times TPUT_RUN and the sum of their milliseconds.
local function run_throughput(run, status)
  local key = k.tput(run.queue, math.floor(now_ms / 60000))
  local ended = run.started ~= '' and math.max(0, now_ms - run.started) or 0
  count_later(key, status, TPUT_RUN + ended, TPUT_MS)
end

-- Whether no other Redis came since the run was claimed.
local function run_knows(run, rid)
  if not run.plain then
    return run.rid == rid_short(rid)
  end
  local there = ' ' .. rid_short(rid)
  return string.sub(run.made, -#there) == there
end

-- The place of a run's last event (number and text), its time as text, and what counts those before it. So says its runner, which wrote them (o.count, o.bytes and, behind them, o.seq, as text o.seq_text and o.t_text); or the stream
-- does, where nothing was said, and after a restart of Redis, which may have lost some.
local function end_place(run, o, rid)
  if (o.count or 0) > 0 and o.seq > 0 and o.t > 0 and run_knows(run, rid) then
    return o.seq, o.seq_text, o.t_text, o.count, o.bytes
  end
  run_rest(run)
  local before = tail(run.id)
  local seq = (o.seq or 0) > 0 and math.max(o.seq, before.last + 1) or seq_after(run, before.last, rid)
  return seq, fmt(seq), fmt(math.max((o.t or 0) > 0 and o.t or now_ms, before.t)), before.c, before.z
end

local function say(fields, name, value)
  local n = #fields
  fields[n + 1], fields[n + 2] = name, value
end

-- Ends a run for good: runtime_terminal behind everything, record, retention. o: status, error, result, truncated, seq, t (0: the script decides), and as stored_before wants them count and bytes.
local function run_end(run, o, rid, retention_ms)
  local status, key = o.status, k.run(run.id)
  local use = known(k.use(run.ws), 'bytes', 'retention', 'hooks')
  if status ~= 'success' or use[3] or (o.seq or 0) == 0 or run.started == '' or run.gates ~= '' or run.hookUrl ~= '' then
    run_rest(run)
  end
  check_edge(run, status)
  work = work + 1
  local seq, seq_text, t_text, c, z = end_place(run, o, rid)
  local more, data, extra = run.closed or {}, '', 0 -- more: what the usual end does not say
  if (o.result or '') ~= '' then
    data = ',"result":' .. o.result
    extra = #o.result
    say(more, 'result', o.result)
  end
  if o.truncated == 1 then
    data = data .. ',"resultTruncated":true'
    say(more, 'resultTruncated', '1')
  end
  if (o.error or '') ~= '' then
    data = data .. ',"error":' .. o.error
    say(more, 'error', o.error)
  end
  data = '{"status":"' .. status .. '"' .. data .. ',"attempt":' .. (run.attempt == '' and '0' or run.attempt) .. '}'
  local said, size = event_add(run.id, SEQ_CLOSED .. '-' .. seq_text, seq_text, t_text, 'runtime_terminal', data, c, z)
  if status == 'success' and (o.warnings or '') ~= '' then
    extra = extra + #o.warnings
    say(more, 'schemaWarnings', o.warnings)
  end
  if extra > 0 then
    local _, given = made_of(run.made)
    say(more, 'size', fmt(given + extra))
  end
  if status == 'error' then
    say(more, 'deadLetter', '1')
    redis.call('ZADD', k.dead(run.ws), run.createdUs, run.id)
  end
  use[1] = (use[1] or 0) + size + extra
  set_later(k.use(run.ws), 'bytes', fmt(use[1]))
  if run_retain(run, o, retention_ms, use[2]) then
    say(more, 'kept', '1')
  end
  redis.call('HSET', key, 'status', status, 'completed', now_text(), 'tail', said, unpack(more))
  run_count(run, run.status, status)
  run.status = status
  if run.asked ~= '' then
    redis.call('HDEL', key, 'asked')
  end
  if run.inputLast ~= '' then
    redis.call('UNLINK', k.stdin(run.id))
  end
  if run.started == '' and run.startBy ~= '' then
    redis.call('ZREM', k.expiry, run.id)
  end
  run_throughput(run, status)
  if run.dependents ~= '' then
    redis.call('HSET', k.depq, run.id, status)
    redis.call('PUBLISH', k.due, '0')
  end
  if use[3] or run.hookUrl ~= '' then
    work = work + 0.3 * hook_run_end(run, status, seq, redis.call('HGETALL', k.hooks(run.ws)))
  end
  wake(run.id)
  gates_leave(run)
end

-- What the record says as well of a run that waits for another attempt: that there was one, for its claim.
local function run_tried(run)
  local fields = run.closed
  fields[#fields + 1] = 'more'
  fields[#fields + 1] = '1'
  return fields
end

-- Closes an attempt that another one follows, with the stream_error that announces it, and makes the run wait: delay_ms, or in a lane. That is `again`, before all others, only for what was lost: losses are few,
-- but failures may be as many as their agent likes.
local function run_again(run, err, seq, t, delay_ms, rid, lane)
  local to = delay_ms > 0 and 'scheduled' or 'queued'
  check_edge(run, to)
  work = work + 1
  local before = tail(run.id)
  seq = seq > 0 and math.max(seq, before.last + 1) or seq_after(run, before.last, rid)
  t = math.max(t > 0 and t or now_ms, before.t)
  local data = '{"willRetry":true,"attempt":' .. run.attempt .. ',"error":' .. err .. '}'
  event_add(run.id, run.epoch .. '-' .. SEQ_CLOSED, fmt(seq), fmt(t), 'stream_error', data, before.c, before.z)
  redis.call('HDEL', k.run(run.id), 'lane', 'laneId', unpack(CLAIM_FIELDS))
  run_move(run, to, run_tried(run))
  if delay_ms > 0 then
    gates_leave(run) -- others may go while it waits
    delay_add(run, now_ms + delay_ms)
  else
    lane_add(run, lane)
  end
  wake(run.id)
end

-- Takes a run back that never failed (hand-back, a claim whose answer was lost): closes the epoch without an event.
local function run_back(run)
  check_edge(run, 'queued')
  work = work + 1
  if redis.call('EXISTS', k.events(run.id)) == 1 then -- else nothing of it was stored, nor will be: only `started` makes a stream
    redis.call('XSETID', k.events(run.id), run.epoch .. '-' .. SEQ_CLOSED)
  end
  redis.call('HDEL', k.run(run.id), unpack(CLAIM_FIELDS))
  run_move(run, 'queued', run_tried(run))
  lane_add(run, 'again')
end

-- How an attempt's end is to be read: a stop beats everything, an accepted claim (remote) beats what the executor saw.
local function outcome_of(run, o)
  if run.stopAt ~= '' then
    return {status = 'stopped', seq = o.seq, t = o.t, seq_text = o.seq_text, t_text = o.t_text, count = o.count, bytes = o.bytes}
  end
  if run.claimStatus ~= '' then
    run_rest(run)
    return {status = run.claimStatus, error = run.claimError, result = run.claimResult, seq = tonumber(run.claimSeq), t = tonumber(run.claimT), retry = run.claimRetry, warnings = run.claimWarnings}
  end
  return o
end

-- Whether a failure of this class may be tried again: what the agent's definition says of it, and the agent itself (retry: `no`, or a delay in ms, or '').
local function may_retry(run, o)
  local class = string.match(o.error or '', '^{"class":"([%w_]+)"') or ''
  local function names(list)
    return string.find(' ' .. list .. ' ', ' ' .. class .. ' ', 1, true) ~= nil
  end
  return o.retry ~= 'no' and not names(run.noRetryOn) and (run.retryOn == '' or names(run.retryOn))
end

-- How long the next attempt waits (ms): what the agent asked for; else fixed, or exponential with full jitter (the microsecond is the die: the clock of Redis decides, and no two runs end in the same one).
local function retry_delay(run, o)
  if o.retry and o.retry ~= '' then
    return tonumber(o.retry)
  end
  local base, cap = tonumber(run.backoffBaseMs) or 0, tonumber(run.backoffCapMs) or 0
  if run.backoffType == 'fixed' then
    return base
  end
  local bound = math.min(base * 2 ^ math.min(tonumber(run.failures), 40), cap)
  return bound > 0 and (now_us % 1000003) * 7919 % (math.floor(bound) + 1) or 0
end

-- Ends an attempt by its outcome: terminal, or back for a retry. by: the script that closes it.
local function attempt_end(run, o, by, exit_code, rid, retention_ms)
  o = outcome_of(run, o)
  if o.status ~= 'error' then
    check_edge(run, o.status)
    attempt_close(run, o.status, by, o.error, exit_code)
    run_end(run, o, rid, retention_ms)
    return
  end
  run_rest(run)
  run_policy(run, CLOSE_POLICY)
  local failures = tonumber(run.failures) + 1
  local again = run.atMostOnce ~= '1' and failures < tonumber(run.maxAttempts) and may_retry(run, o)
  local delay_ms = again and retry_delay(run, o) or 0
  check_edge(run, again and (delay_ms > 0 and 'scheduled' or 'queued') or 'error')
  attempt_close(run, 'error', by, o.error, exit_code)
  table.insert(run.closed, 'failures')
  table.insert(run.closed, failures)
  if again then
    run_again(run, o.error, o.seq or 0, o.t or 0, delay_ms, rid, run.priority)
  else
    run_end(run, o, rid, retention_ms)
  end
end

-- Takes a run back whose attempt was lost together with its runner, or given up by it: executed again (not one that asked for atMostOnce, nor too often). A stop, or an accepted claim, ends it instead.
local function take_back(run, by, max_losses, rid, retention_ms)
  if run.stopAt ~= '' or run.claimStatus ~= '' then
    attempt_end(run, {status = 'stopped'}, by, '', rid, retention_ms)
    return
  end
  local LOST = '{"class":"runner_lost","message":"the runner that executed it was lost"}'
  run_policy(run, CLOSE_POLICY)
  local losses = tonumber(run.losses) + 1
  attempt_close(run, 'lost', by, LOST)
  table.insert(run.closed, 'losses')
  table.insert(run.closed, losses)
  if run.atMostOnce == '1' or losses > max_losses then
    run_end(run, {status = 'error', error = LOST}, rid, retention_ms)
  else
    run_again(run, LOST, 0, 0, 0, rid, 'again')
  end
end

-- Takes a waiting run out of where it waits: its lane (a gate's line is left with the gates), its due time, its dependencies.
local function run_leave(run)
  if run.status == 'queued' and run.waitGate == '' then
    lane_remove(run)
  end
  if run.due ~= '' then
    delay_remove(run)
  end
  if run.depsLeft ~= '' then
    for _, dep in ipairs(split(run.deps)) do
      redis.call('SREM', k.dependents(dep), run.id)
      work = work + 0.03
    end
    redis.call('HDEL', k.run(run.id), 'depsLeft')
  end
end

-- Ends a waiting run that will never start.
local function run_give_up(run, class, message, rid, retention_ms)
  run_leave(run)
  if run.status == 'scheduled' then
    run_move(run, 'queued')
  end
  run_end(run, {status = 'error', error = '{"class":"' .. class .. '","message":"' .. message .. '"}'}, rid, retention_ms)
end
