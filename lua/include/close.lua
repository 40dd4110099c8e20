-- The ends of attempts and of runs. Fields that these functions want of a run:
local CLOSE_FIELDS = {'ws', 'queue', 'req', 'epoch', 'inc', 'attempt', 'failures', 'losses', 'maxAttempts', 'atMostOnce', 'stopAt', 'rid', 'source',
  'claimSeq', 'claimT', 'claimStatus', 'claimResult', 'claimError', 'lane', 'laneId'}
local CLAIM_FIELDS = {'claimLine', 'claimSeq', 'claimT', 'claimStatus', 'claimResult', 'claimError'}

-- Marks the attempt's own record closed, and takes the run off its runner.
local function attempt_close(run, status, by, err, exit_code)
  local n = run.attempt
  local fields = {af(n, 'status'), status, af(n, 'by'), by, af(n, 'ended'), fmt(now_ms)}
  if err and err ~= '' then
    fields[#fields + 1] = af(n, 'error')
    fields[#fields + 1] = err
  end
  if exit_code and exit_code ~= '' then
    fields[#fields + 1] = af(n, 'exit')
    fields[#fields + 1] = exit_code
  end
  redis.call('HSET', k.run(run.id), unpack(fields))
  redis.call('ZREM', k.held(run.inc), run.id)
end

-- Ends a run for good: runtime_terminal behind everything, record, retention. o: status, error, result, truncated, seq, t (0: the script decides).
local function run_end(run, o, rid, retention_ms)
  check_edge(run, o.status)
  local before = tail(run.id)
  local seq = (o.seq or 0) > 0 and math.max(o.seq, before.last + 1) or seq_after(before.last, run.rid, rid)
  local t = math.max((o.t or 0) > 0 and o.t or now_ms, before.t)
  local data = '{"status":"' .. o.status .. '"'
  if (o.result or '') ~= '' then
    data = data .. ',"result":' .. o.result
  end
  if o.truncated == 1 then
    data = data .. ',"resultTruncated":true'
  end
  if (o.error or '') ~= '' then
    data = data .. ',"error":' .. o.error
  end
  data = data .. ',"attempt":' .. (run.attempt == '' and '0' or run.attempt) .. '}'
  local size = event_add(run.id, SEQ_CLOSED .. '-' .. fmt(seq), seq, t, 'runtime_terminal', data, before)
  local fields = {'completed', fmt(now_ms), 'lastSeq', fmt(seq), 'lastT', fmt(t), 'eventCount', fmt(before.c + 1), 'eventBytes', fmt(before.z + size)}
  if (o.result or '') ~= '' then
    fields[#fields + 1] = 'result'
    fields[#fields + 1] = o.result
  end
  if o.truncated == 1 then
    fields[#fields + 1] = 'resultTruncated'
    fields[#fields + 1] = '1'
  end
  if (o.error or '') ~= '' then
    fields[#fields + 1] = 'error'
    fields[#fields + 1] = o.error
  end
  redis.call('HSET', k.run(run.id), unpack(fields))
  run_move(run, o.status)
  redis.call('ZADD', k.retain, fmt(now_ms + retention_ms), run.id)
  wake(run.id)
end

-- Closes an attempt that another one follows, with the stream_error that announces it, and makes the run wait: delay_ms, or at the front of its queue.
local function run_again(run, err, seq, t, delay_ms, rid)
  local to = delay_ms > 0 and 'scheduled' or 'queued'
  check_edge(run, to)
  local before = tail(run.id)
  seq = seq > 0 and math.max(seq, before.last + 1) or seq_after(before.last, run.rid, rid)
  t = math.max(t > 0 and t or now_ms, before.t)
  local data = '{"willRetry":true,"attempt":' .. run.attempt .. ',"error":' .. err .. '}'
  event_add(run.id, fmt(tonumber(run.epoch)) .. '-' .. SEQ_CLOSED, seq, t, 'stream_error', data, before)
  redis.call('HDEL', k.run(run.id), unpack(CLAIM_FIELDS))
  run_move(run, to)
  if delay_ms > 0 then
    delay_add(run, now_ms + delay_ms)
  else
    lane_add(run, 'again')
  end
  wake(run.id)
end

-- Takes a run back that never failed (hand-back, a claim whose answer was lost): closes the epoch without an event.
local function run_back(run)
  check_edge(run, 'queued')
  redis.call('XSETID', k.events(run.id), fmt(tonumber(run.epoch)) .. '-' .. SEQ_CLOSED)
  redis.call('HDEL', k.run(run.id), unpack(CLAIM_FIELDS))
  run_move(run, 'queued')
  lane_add(run, 'again')
end

-- How an attempt's end is to be read: a stop beats everything, an accepted claim (remote) beats what the executor saw.
local function outcome_of(run, o)
  if run.stopAt ~= '' then
    return {status = 'stopped', seq = o.seq, t = o.t}
  end
  if run.claimStatus ~= '' then
    return {status = run.claimStatus, error = run.claimError, result = run.claimResult, seq = tonumber(run.claimSeq), t = tonumber(run.claimT), claimed = true}
  end
  return o
end

-- Ends an attempt by its outcome: terminal, or back for a retry after retry_ms. by: the script that closes it.
local function attempt_end(run, o, by, retryable, retry_ms, exit_code, rid, retention_ms)
  o = outcome_of(run, o)
  local failures = tonumber(run.failures) + (o.status == 'error' and 1 or 0)
  local again = o.status == 'error' and retryable == 1 and run.atMostOnce ~= '1' and failures < tonumber(run.maxAttempts)
  check_edge(run, again and (retry_ms > 0 and 'scheduled' or 'queued') or o.status)
  attempt_close(run, o.status, by, o.error, exit_code)
  redis.call('HSET', k.run(run.id), 'failures', failures)
  if again then
    run_again(run, o.error, o.seq or 0, o.t or 0, retry_ms, rid)
  else
    run_end(run, o, rid, retention_ms)
  end
end

-- Takes a run back whose attempt was lost together with its runner, or given up by it: executed again (not one that asked for atMostOnce, nor too often). A stop, or an accepted claim, ends it instead.
local function take_back(run, by, max_losses, rid, retention_ms)
  if run.stopAt ~= '' or run.claimStatus ~= '' then
    attempt_end(run, {status = 'stopped'}, by, 1, 0, '', rid, retention_ms)
    return
  end
  local LOST = '{"class":"runner_lost","message":"the runner that executed it was lost"}'
  local losses = tonumber(run.losses) + 1
  redis.call('HSET', k.run(run.id), 'losses', losses)
  attempt_close(run, 'lost', by, LOST)
  if run.atMostOnce == '1' or losses > max_losses then
    run_end(run, {status = 'error', error = LOST}, rid, retention_ms)
  else
    run_again(run, LOST, 0, 0, 0, rid)
  end
end
