-- Put in front of every script that touches presence.
--
-- KEYS  1 members: connection id -> entry  2 clients: client id -> connections  3 nodes: node -> ms it lives till
-- An entry is MessagePack: {node, client id, user, info}. A node that is not refreshed in time is dead, and
-- whoever looks next lets go of its entries.

local MEMBERS, CLIENTS, NODES = KEYS[1], KEYS[2], KEYS[3]

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function let_go(connection, entry)
  local client = cmsgpack.unpack(entry)[2]
  redis.call('HDEL', MEMBERS, connection)
  if redis.call('HINCRBY', CLIENTS, client, -1) <= 0 then redis.call('HDEL', CLIENTS, client) end
end

local function take_in(connection, entry)
  local before = redis.call('HGET', MEMBERS, connection)
  if before then let_go(connection, before) end
  redis.call('HSET', MEMBERS, connection, entry)
  redis.call('HINCRBY', CLIENTS, cmsgpack.unpack(entry)[2], 1)
end

-- Let go of the entries of these nodes (a set by name).
local function let_go_of_nodes(names)
  local all = redis.call('HGETALL', MEMBERS)
  for i = 1, #all, 2 do
    if names[cmsgpack.unpack(all[i + 1])[1]] then let_go(all[i], all[i + 1]) end
  end
end

local function bury(now)
  local dead = redis.call('ZRANGEBYSCORE', NODES, '-inf', now)
  if #dead == 0 then return end
  local names = {}
  for _, node in ipairs(dead) do names[node] = true end
  let_go_of_nodes(names)
  redis.call('ZREMRANGEBYSCORE', NODES, '-inf', now)
end

local function lives(node, now, ttl)
  redis.call('ZADD', NODES, string.format('%.0f', now + ttl), node)
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, string.format('%.0f', ttl * 2)) end
end
