-- key_get: what a node needs to judge a credential: a key by its id, or by the digest of a session. In the global prefix.
-- READONLY
-- INCLUDE keys
-- ARGV
--   id       str   '' where a session is given
--   session  str   SHA-256 (hex) of the session's token, or ''
--   address  str   who asks; '' for nobody
-- REPLY
--   id       str   the key's; '' when there is none
--   key      flat  its record
--   until_ms int   when the session ends; 0 for none
--   proof    str   of a session: with which of the key's secrets it was begun
--   failures int   failed authentications of this address lately
-- ERRORS

local until_ms, proof = 0, ''
if session ~= '' then
  local row = redis.call('HMGET', k.session(session), 'key', 'until', 'proof')
  id, until_ms, proof = row[1] or '', tonumber(row[2] or '0'), row[3] or ''
end
local record = id ~= '' and redis.call('HGETALL', k.key(id)) or {}
return {'ok', #record > 0 and id or '', record, until_ms, proof, address ~= '' and tonumber(redis.call('GET', k.authfail(address)) or '0') or 0}
