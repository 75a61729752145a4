
-- ARGV: epoch, messages, size, age
local log = open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
trim(log)
renew(log)
return { log.epoch, num(log.top) }
