
-- ARGV: epoch, messages, size, age, channel, producer, first, message...
local log = open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local channel, producer, next = ARGV[5], ARGV[6], tonumber(ARGV[7])
local last = tonumber(redis.call('HGET', KEYS[1], 'p:' .. producer) or '0')
local call, sub, at = redis.call, string.sub, '-' .. num(now)
local text = num(log.top)
for i = 8, #ARGV do
	if next > last then
		local data, prev = ARGV[i], text
		log.top = log.top + 1
		text = num(log.top)
		call('XADD', KEYS[2], text .. at, 'd', data, 'b', num(log.bytes))
		log.bytes = log.bytes + #data
		local comma = string.find(data, '^{%s*}$') and '"pos":"' or ',"pos":"'
		call('PUBLISH', channel, sub(data, 1, -2) .. comma .. log.epoch .. '.' .. text .. '.' .. prev .. '"}')
		last = next
	end
	next = next + 1
end
redis.call('HSET', KEYS[1], 'top', num(log.top), 'bytes', num(log.bytes),
	'p:' .. producer, num(last), 't:' .. producer, num(now))

-- Producers that were silent for five minutes are forgotten.
if now - log.pruned > 300000 then
	local v = redis.call('HGETALL', KEYS[1])
	for i = 1, #v, 2 do
		if string.sub(v[i], 1, 2) == 't:' and tonumber(v[i + 1]) < now - 300000 then
			redis.call('HDEL', KEYS[1], v[i], 'p:' .. string.sub(v[i], 3))
		end
	end
	redis.call('HSET', KEYS[1], 'pruned', num(now))
end
trim(log)
renew(log)
return { log.epoch, num(log.top) }
