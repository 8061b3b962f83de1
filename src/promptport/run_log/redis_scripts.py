"""The scripts that `RedisRunLog` runs inside Redis, each over keys of one slot of a cluster.

Rule: what must not be torn apart stands in one script: to look at the lease, renew it and append; to open a run; to say
that a producer died; to give a thread from a run that is over to the next one.
"""

from __future__ import annotations

__all__ = ["AGAIN", "APPEND", "CLOSED", "FENCED", "FORGOT", "LEAVE", "OPEN", "OPENING", "RENEW", "SEAL", "SWAP"]

RENEW, AGAIN, OPENING = "renew", "again", "opening"
"""How a batch is written: under a lease that is held; after a failure, so that Redis might have the batch already, or
have forgotten what came before; or as the first of a run, of which nothing may be there."""

FENCED, CLOSED, FORGOT = 1, 2, 3
"""Why a batch was not written: another producer holds the run; a reader said that the producer died; what stands before
the batch is gone."""

APPEND = """
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return {1, 0, ''} end
local n = tonumber(ARGV[3])
local from = 7
if not owner or ARGV[6] ~= 'renew' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  local have = 0
  if #last > 0 then
    have = tonumber(string.match(last[1][1], '^%d+'))
    if ARGV[6] == 'opening' then return {1, have, ''} end
    if last[1][2][1] == 'z' then return {2, have, ''} end
  end
  if have + 1 < n then return {3, have, ''} end
  from = from + have + 1 - n
  n = have + 1
end
if owner then redis.call('PEXPIRE', KEYS[2], ARGV[2]) else redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
for i = from, #ARGV do
  redis.call('XADD', KEYS[1], n .. '-0', string.sub(ARGV[i], 1, 1), string.sub(ARGV[i], 2))
  n = n + 1
end
if ARGV[5] == '1' then redis.call('DEL', KEYS[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {0, n - 1, redis.call('GET', KEYS[3]) or ''}
"""
"""KEYS: frames, lease, stop. ARGV: token, lease in ms, first position, how long frames are kept in ms, whether it is
the last batch, how it is written, entries. Gives what became of it, the last position there, and the wish to stop.

A lease that ran out is taken again if nobody noticed: no other producer holds the run, and no reader closed it. The
lease is renewed before anything is added, so that a Redis without room for frames keeps the run alive."""

OPEN = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local position = 0
if #last > 0 then
  if last[1][2][1] == 'z' then return redis.error_reply('ENDED') end
  position = tonumber(string.match(last[1][1], '^%d+'))
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return redis.error_reply(ARGV[3] == '1' and 'ALIVE' or 'THERE')
end
if ARGV[3] == '0' and position > 0 then return redis.error_reply('THERE') end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return position
"""
"""KEYS: frames, lease. ARGV: token, lease in ms, whether it is a takeover. Gives the last position."""

SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""KEYS: thread. ARGV: the run that holds it, the next one, how long the next one holds it in ms."""

LEAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
"""KEYS: a thread, or a lease. ARGV: who holds it."""

SEAL = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 or last[1][2][1] == 'z' then return 0 end
local n = tonumber(string.match(last[1][1], '^%d+')) + 1
redis.call('XADD', KEYS[1], n .. '-0', 'z', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return n
"""
"""KEYS: frames, lease. ARGV: the ending, how long it is kept in ms. A producer that died closes nothing: the first
reader that notices does, once."""
