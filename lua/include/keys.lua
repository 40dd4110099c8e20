-- Names of keys, from the shard's prefix P. common/keys.c is the C half.
local k = {
  run = function(id) return P .. 'run:' .. id end,
  events = function(id) return P .. 'run:' .. id .. ':events' end,
  wake = function(id) return P .. 'run:' .. id .. ':wake' end,
  children = function(id) return P .. 'run:' .. id .. ':children' end,
  dependents = function(id) return P .. 'run:' .. id .. ':dependents' end,
  input = function(id) return P .. 'run:' .. id .. ':input' end,
  env = function(id) return P .. 'run:' .. id .. ':env' end,
  logs = function(id) return P .. 'run:' .. id .. ':logs' end,
  stdin = function(id) return P .. 'run:' .. id .. ':stdin' end,
  def = function(digest) return P .. 'def:' .. digest end,
  agent = function(workspace, name) return P .. 'agent:' .. workspace .. ':' .. name end,
  agents = function(workspace) return P .. 'agents:' .. workspace end,
  data = function(workspace, kind, name) return P .. 'data:' .. workspace .. ':' .. kind .. ':' .. name end,
  upload = function(workspace, kind, upload, name) return P .. 'upload:' .. workspace .. ':' .. kind .. ':' .. upload .. ':' .. name end,
  uploads = function(workspace) return P .. 'uploads:' .. workspace end,
  stored = function(workspace, kind) return P .. 'stored:' .. workspace .. ':' .. kind end,
  bundle = function(workspace, hex) return P .. 'bundle:' .. workspace .. ':' .. hex end,
  bundle_chunk = function(workspace, hex, n) return P .. 'bundle:' .. workspace .. ':' .. hex .. ':' .. n end,
  bundles = function(workspace) return P .. 'bundles:' .. workspace end,
  bundledue = P .. 'bundledue',
  ws = function(workspace) return P .. 'ws:' .. workspace end,
  use = function(workspace) return P .. 'use:' .. workspace end,
  queue = function(queue) return P .. 'queue:' .. queue end,
  lane = function(queue, req, workspace, prio) return P .. 'lane:' .. queue .. ':' .. req .. ':' .. workspace .. ':' .. prio end,
  prios = function(queue, req, workspace) return P .. 'prios:' .. queue .. ':' .. req .. ':' .. workspace end,
  lanes = function(queue, req) return P .. 'lanes:' .. queue .. ':' .. req end,
  vt = function(queue, req) return P .. 'vt:' .. queue .. ':' .. req end,
  hold = function(queue, req) return P .. 'hold:' .. queue .. ':' .. req end,
  bell = function(queue) return P .. 'bell:' .. queue end,
  gate = function(workspace, gate) return P .. 'gate:' .. workspace .. ':' .. gate end,
  wait = function(workspace, gate) return P .. 'wait:' .. workspace .. ':' .. gate end,
  rate = function(workspace, gate) return P .. 'rate:' .. workspace .. ':' .. gate end,
  limits = function(workspace) return P .. 'limits:' .. workspace end,
  runner = function(inc) return P .. 'runner:' .. inc end,
  held = function(inc) return P .. 'held:' .. inc end,
  ctl = function(inc) return P .. 'ctl:' .. inc end,
  idx = function(workspace, agent) return P .. 'idx:' .. workspace .. (agent ~= '' and ':agent:' .. agent or '') end,
  dead = function(workspace) return P .. 'dead:' .. workspace end,
  kept = function(workspace, agent) return P .. 'kept:' .. workspace .. (agent ~= '' and ':agent:' .. agent or '') end,
  idem = function(workspace, key) return P .. 'idem:' .. workspace .. ':' .. key end,
  tput = function(queue, minute) return P .. 'tput:' .. queue .. ':' .. minute end,
  schedule = function(workspace, name) return P .. 'schedule:' .. workspace .. ':' .. name end,
  schedules = function(workspace) return P .. 'schedules:' .. workspace end,
  key = function(id) return P .. 'key:' .. id end, -- this and those to authfail: of the global prefix
  keys = function(workspace) return P .. 'keys:' .. workspace end,
  keysgone = function(workspace) return P .. 'keysgone:' .. workspace end,
  keyver = P .. 'keyver',
  keynews = P .. 'keynews',
  session = function(sha) return P .. 'session:' .. sha end,
  sessions = function(id) return P .. 'sessions:' .. id end,
  authfail = function(address) return P .. 'authfail:' .. address end,
  quota = function(key_id) return P .. 'quota:' .. key_id end,
  trust = function(workspace, name) return P .. 'trust:' .. workspace .. ':' .. name end,
  trusts = function(workspace) return P .. 'trusts:' .. workspace end,
  used = function(digest) return P .. 'used:' .. digest end,
  secret = function(workspace, name) return P .. 'secret:' .. workspace .. ':' .. name end,
  secrets = function(workspace) return P .. 'secrets:' .. workspace end,
  secretv = function(workspace) return P .. 'secretv:' .. workspace end,
  sealed = function(path) return P .. path end, -- as a scan of the shard found it
  hook = function(workspace, id) return P .. 'hook:' .. workspace .. ':' .. id end,
  hooks = function(workspace) return P .. 'hooks:' .. workspace end,
  hookdue = function(workspace, id) return P .. 'hookdue:' .. workspace .. ':' .. id end,
  hooklease = function(workspace, id) return P .. 'hooklease:' .. workspace .. ':' .. id end,
  hooklist = function(workspace, id) return P .. 'hooklist:' .. workspace .. ':' .. id end,
  delivery = function(workspace, id, delivery) return P .. 'delivery:' .. workspace .. ':' .. id .. ':' .. delivery end,
  hookq = P .. 'hookq',
  hookw = P .. 'hookw',
  follow = P .. 'follow',
  ticks = P .. 'ticks',
  auditlog = function(workspace) return P .. 'auditlog:' .. workspace end,
  auditseal = function(workspace) return P .. 'auditseal:' .. workspace end,
  auditopen = P .. 'auditopen',
  auditdue = P .. 'auditdue',
  workspaces = P .. 'workspaces',
  queues = P .. 'queues',
  queued = P .. 'queued',
  scheduled = P .. 'scheduled',
  active = P .. 'active',
  class = function(name) return P .. name end, -- the three above
  reqs = P .. 'reqs',
  reqn = P .. 'reqn',
  told = P .. 'told',
  delayed = P .. 'delayed',
  due = P .. 'due',
  throttled = P .. 'throttled',
  expiry = P .. 'expiry',
  depq = P .. 'depq',
  leases = P .. 'leases',
  reap = P .. 'reap',
  stopq = P .. 'stopq',
  retain = P .. 'retain',
  storageusers = P .. 'storageusers',
}

-- Numbers up to 2^53 as text: no exponent; what is behind the point goes. (As a double, '%.0f', and as a number that is an argument of redis.call, it costs twice to six times as much.)
local function fmt(n)
  return string.format('%d', n)
end

-- Adds to a counter that is a field of a hash, and returns it; one that comes to nothing is removed.
local function add_count(key, field, by)
  local now = redis.call('HINCRBY', key, field, by)
  if now <= 0 then
    redis.call('HDEL', key, field)
  end
  return now
end

local function split(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do
    words[#words + 1] = word
  end
  return words
end
