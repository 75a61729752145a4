
-- ARGV: epoch, messages, size, age, channel, producer, first, message...
local log = open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local channel, producer, next = ARGV[5], ARGV[6], tonumber(ARGV[7])
local last = tonumber(redis.call('HGET', KEYS[1], 'p:' .. producer) or '0')
for i = 8, #ARGV do
	if next > last then
		local data = ARGV[i]
		local prev = log.top
		log.top = prev + 1
		redis.call('XADD', KEYS[2], num(log.top) .. '-' .. num(now), 'd', data, 'b', num(log.bytes))
		log.bytes = log.bytes + #data
		local comma = string.find(data, '^{%s*}$') and '' or ','
		redis.call('PUBLISH', channel, string.sub(data, 1, -2) .. comma ..
			'"pos":"' .. log.epoch .. '.' .. num(log.top) .. '.' .. num(prev) .. '"}')
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
