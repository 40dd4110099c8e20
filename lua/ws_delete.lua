#!lua flags=allow-oom
-- ws_delete: forgets a workspace's settings; its runs stay. Repeating it changes nothing.
-- INCLUDE keys time later run lane gate workspace
-- ARGV
--   ws   str
-- REPLY
-- ERRORS

redis.call('DEL', k.ws(ws))
redis.call('ZREM', k.workspaces, ws)
ws_mirror(ws)
ws_bound(ws, 0)
return {'ok'}
