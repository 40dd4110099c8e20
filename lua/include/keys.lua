-- Names of keys, from the shard's prefix P. common/keys.c is the C half.
local k = {
  run = function(id) return P .. 'run:' .. id end,
  events = function(id) return P .. 'run:' .. id .. ':events' end,
  wake = function(id) return P .. 'run:' .. id .. ':wake' end,
  children = function(id) return P .. 'run:' .. id .. ':children' end,
  logs = function(id) return P .. 'run:' .. id .. ':logs' end,
  def = function(digest) return P .. 'def:' .. digest end,
  agent = function(workspace, name) return P .. 'agent:' .. workspace .. ':' .. name end,
  agents = function(workspace) return P .. 'agents:' .. workspace end,
  lane = function(queue, lane) return P .. 'lane:' .. queue .. ':' .. lane end,
  lanes = function(queue) return P .. 'lanes:' .. queue end,
  vt = function(queue) return P .. 'vt:' .. queue end,
  bell = function(queue) return P .. 'bell:' .. queue end,
  runner = function(inc) return P .. 'runner:' .. inc end,
  held = function(inc) return P .. 'held:' .. inc end,
  ctl = function(inc) return P .. 'ctl:' .. inc end,
  idx = function(workspace, agent) return P .. 'idx:' .. workspace .. (agent ~= '' and ':agent:' .. agent or '') end,
  idem = function(workspace, key) return P .. 'idem:' .. workspace .. ':' .. key end,
  queued = P .. 'queued',
  scheduled = P .. 'scheduled',
  delayed = P .. 'delayed',
  due = P .. 'due',
  leases = P .. 'leases',
  reap = P .. 'reap',
  stopq = P .. 'stopq',
  retain = P .. 'retain',
}

-- Numbers beyond 2^31 as Redis wants them: no exponent, no rounding up to 2^53.
local function fmt(n)
  return string.format('%.0f', n)
end
