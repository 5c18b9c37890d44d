-- Put in front of every script that touches a history.
--
-- An epoch names a history as one server process has kept it. When another process serves the data (a restart,
-- a promoted replica, a moved slot), its tail may have been lost, so the history goes on in a new epoch and
-- remembers where the earlier ones ended: a position (epoch, offset) of an earlier one is good up to there, and
-- beyond it names a publication that is lost. Kafka does the same with leader epochs (KIP-101).

local PAST = 8 -- earlier epochs that are remembered

-- Where the history stands: epoch, offset, and the earlier epochs as "epoch=offset,".
-- One that is not there begins, as `fresh`.
local function stand(meta, stream, server, fresh, ttl)
  local found = redis.call('HMGET', meta, 'epoch', 'offset', 'server', 'past')
  local epoch, offset, past = found[1], tonumber(found[2]), found[4] or ''
  if not epoch then
    epoch, offset = fresh, 0
    redis.call('DEL', stream) -- what lost its epoch is of no use
    redis.call('HSET', meta, 'epoch', epoch, 'offset', 0, 'server', server)
  elseif found[3] ~= server then
    past = epoch .. '=' .. string.format('%.0f', offset) .. ',' .. past
    local kept = 0
    past = string.gsub(past, '[^,]*,', function(entry)
      kept = kept + 1
      return kept <= PAST and entry or ''
    end)
    epoch = fresh
    redis.call('HSET', meta, 'epoch', epoch, 'server', server, 'past', past)
  end
  redis.call('PEXPIRE', meta, ttl)
  return epoch, offset, past
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Let go of what has outlived its time: the oldest, strictly in order, so that no hole appears.
local function expire(stream, now)
  local look = 1 -- mostly nothing has, and entries are costly to look at
  while true do
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', look)
    for _, entry in ipairs(entries) do
      if tonumber(entry[2][4]) > now then return end
      redis.call('XDEL', stream, entry[1])
    end
    if #entries == 0 then return end
    look = 64
  end
end
