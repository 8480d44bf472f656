-- Windows that several processes draw on together: what window.py does, and a queue of processes.
--
-- KEYS: clock, gone, then for each window log, flights, holders, waiters, state.
--   clock    the latest time seen, by how much the server's clock is behind since it was set, and
--            when all this began: if that changes, everything before is forgotten
--   gone     tickets that were given up while their `acquire` may still be on its way
--   log      requests that were answered, by when
--   flights  requests in flight, by when they count as answered though nobody said so
--   holders  how many of those two each process has
--   waiters  who waits: since when, from when it is awake, until when that is believed, and
--            whether it is this window that makes it wait; a process waits once for each set
--   state    closed: until when; peak, since, pace, cycles, wary: what 429s taught
-- ARGV: the operation, the configuration as JSON, then what the operation takes.
-- A ticket is called process.windows.number; who waits is called process.windows.
--
-- Every answer begins with seconds, the index of a window and when all this began, and goes on
-- with six values for each window: used, in flight, share, seconds to reset, seconds closed,
-- processes.

local config = cjson.decode(ARGV[2])
local clock, gone = KEYS[1], KEYS[2]

local function text(seconds)
  return string.format('%.6f', seconds)
end

-- The server's clock, except that it never runs backwards: it may be set, or a replica take over.
local function time()
  local parts = redis.call('TIME')
  local raw = tonumber(parts[1]) + tonumber(parts[2]) / 1000000
  local known = redis.call('HMGET', clock, 'last', 'shift', 'began')
  local last, shift = tonumber(known[1] or raw), tonumber(known[2] or 0)
  if raw < last then
    shift = shift + last - raw
  end
  local began = known[3] or text(raw)
  redis.call('HSET', clock, 'last', text(raw), 'shift', text(shift), 'began', began)
  redis.call('PEXPIRE', clock, config.remember)
  return raw + shift, began
end

local now, began = time()

local function process_of(name)
  return string.match(name, '^[^.]+')
end

local function hold(window, name)
  if window.seconds > 0 then
    redis.call('HINCRBY', window.holders, process_of(name), 1)
  end
end

local function unhold(window, name)
  local process = process_of(name)
  if window.seconds > 0 and redis.call('HINCRBY', window.holders, process, -1) <= 0 then
    redis.call('HDEL', window.holders, process)
  end
end

-- The three expire together: what is counted in one is listed in another.
local function keep(window)
  redis.call('PEXPIRE', window.log, window.expiry)
  redis.call('PEXPIRE', window.flights, window.expiry)
  redis.call('PEXPIRE', window.holders, window.expiry)
end

local function forget(window)
  local late = redis.call('ZRANGEBYSCORE', window.flights, '-inf', text(now), 'WITHSCORES')
  for i = 1, #late, 2 do
    redis.call('ZREM', window.flights, late[i])
    if window.seconds > 0 then
      redis.call('ZADD', window.log, late[i + 1], late[i])
    end
  end
  if window.seconds > 0 then
    local edge = text(now - window.stay)
    local old = redis.call('ZRANGEBYSCORE', window.log, '-inf', edge)
    for _, ticket in ipairs(old) do
      unhold(window, ticket)
    end
    if #old > 0 then
      redis.call('ZREMRANGEBYSCORE', window.log, '-inf', edge)
    end
    if #late > 0 then
      keep(window)
    end
  end
end

-- Who waits, by name.
local function waiters_of(key)
  local listed, waiters = redis.call('HGETALL', key), {}
  for i = 1, #listed, 2 do
    local since, due, lease, here = string.match(listed[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
    if tonumber(lease) > now then
      waiters[listed[i]] = {since = tonumber(since), due = tonumber(due), here = here == '1'}
    else
      redis.call('HDEL', key, listed[i])
    end
  end
  return waiters
end

-- What is left to us of the limit; see window.py and feedback.share.
local function share_of(window)
  if not window.peak then
    return window.limit
  end
  if 2 * (window.used + window.flying) < window.peak and now - window.since > window.pace then
    window.since = now - window.pace
    redis.call('HSET', window.state, 'since', text(window.since))
    redis.call('PEXPIRE', window.state, config.remember)
  end
  local past = (now - window.since) / window.pace - 1
  local scale = past < 0 and math.max(1, config.drop * window.peak)
    or math.max(1, config.rise * window.limit)
  local grown = math.max(window.least, math.floor(window.peak + past ^ 3 * scale))
  if grown < window.limit then
    return grown
  end
  redis.call('HDEL', window.state, 'peak', 'since', 'pace', 'cycles', 'wary')
  window.peak, window.cycles = nil, 0
  return window.limit
end

-- feedback.when_share, from now
local function growth(window, wanted)
  local gap = wanted - window.peak
  local scale = gap < 0 and math.max(1, config.drop * window.peak)
    or math.max(1, config.rise * window.limit)
  local root = (math.abs(gap) / scale) ^ (1 / 3)
  return window.since + window.pace * (1 + (gap < 0 and -root or root)) - now
end

local function read(index)
  local rule, first = config.rules[index], 5 * index - 3
  local window = {
    limit = rule.limit,
    watched = rule.watched,
    seconds = rule.seconds,
    stay = rule.stay,
    least = rule.least,
    probes = rule.probes,
    paces = rule.paces,
    lease = rule.lease,
    expiry = rule.expiry,
    log = KEYS[first + 1],
    flights = KEYS[first + 2],
    holders = KEYS[first + 3],
    queue = KEYS[first + 4],
    state = KEYS[first + 5],
  }
  forget(window)
  window.used = redis.call('ZCARD', window.log)
  window.flying = redis.call('ZCARD', window.flights)
  if window.used + window.flying == 0 then
    redis.call('DEL', window.holders)
  end
  local state = redis.call(
    'HMGET', window.state, 'closed', 'peak', 'since', 'pace', 'cycles', 'wary')
  window.closed = math.max(0, tonumber(state[1] or 0) - now)
  window.peak = tonumber(state[2])
  window.since = tonumber(state[3] or now)
  window.pace = tonumber(state[4] or rule.paces[1])
  window.cycles = tonumber(state[5] or 0)
  window.wary = tonumber(state[6] or 0)
  window.share = share_of(window)
  window.waiters = waiters_of(window.queue)
  return window
end

local windows = {}
for index = 1, #config.rules do
  windows[index] = read(index)
end

-- Seconds until the entry at a place of the log leaves the window.
local function departure(window, place)
  local entry = redis.call('ZRANGE', window.log, place, place, 'WITHSCORES')
  return entry[2] and math.max(0, tonumber(entry[2]) + window.stay - now) or window.stay
end

local function is_before(name, waiter, who, since)
  return waiter.since < since or (waiter.since == since and name < who)
end

-- How many places are others', and how many of the others go first.
--
-- Who has less than an even part of the window goes before who has more, and in the order of
-- arrival otherwise. Places up to their even part are kept for those who wait, from those who
-- have theirs: else whoever is nearest to Redis would take most of them. Nothing is kept for
-- those who were told to sleep and still do.
local function others(window, who, since)
  local kept, ahead, count = 0, 0, {}
  if next(window.waiters) == nil then
    return 0, 0
  end
  local function held(process)
    if not count[process] then
      count[process] = tonumber(redis.call('HGET', window.holders, process) or 0)
    end
    return count[process]
  end
  local mine = held(process_of(who))
  local active = redis.call('HLEN', window.holders) + (mine == 0 and 1 or 0)
  for name in pairs(window.waiters) do
    local process = process_of(name)
    if not count[process] and held(process) == 0 then
      active = active + 1
    end
  end
  local even, served = math.max(1, math.floor(window.share / active)), {}
  for name, waiter in pairs(window.waiters) do
    local process, places = process_of(name), 0
    local poorer = held(process) < even
    if name ~= who and window.seconds > 0 and poorer and mine >= even then
      places = 1
      if waiter.here and not served[process] then
        places, served[process] = even - held(process), true
      end
    elseif name ~= who and is_before(name, waiter, who, since) then
      if window.seconds == 0 or poorer == (mine < even) then
        places = 1
      end
    end
    kept = kept + (waiter.due <= now and places or 0)
    ahead = ahead + math.min(1, places)
  end
  return kept, ahead
end

-- Seconds until there may be a place, and whether it is known that there is none before; 0: there
-- is one.
local function wait_for_place(window, who, since, nap)
  local kept, ahead = others(window, who, since)
  local taken = window.used + window.flying
  if window.share - taken > kept then
    local near = window.peak and taken >= config.near * window.peak
    return near and window.flying >= window.probes and nap or 0, false
  end
  local excess, seconds, known = taken + ahead - window.share, nap, false
  if excess >= 0 and excess < window.used then
    seconds, known = departure(window, excess), true
  end
  if window.peak and taken < window.limit then
    seconds = math.min(seconds, growth(window, taken + ahead + 1))
  end
  return math.max(seconds, 0.001), known
end

local function wait_for(window, who, since, nap)
  local seconds, known = wait_for_place(window, who, since, nap)
  if window.closed > seconds and not window.watched then
    return window.closed, true
  end
  return seconds, known
end

local function stand(window, who, since, due, lease, here)
  local entry = string.format('%.6f %.6f %.6f %d', since, due, lease, here and 1 or 0)
  redis.call('HSET', window.queue, who, entry)
  redis.call('PEXPIRE', window.queue, config.forget)
end

local function take(window, ticket, age)
  local added = redis.call('ZADD', window.flights, text(now + window.lease - age), ticket)
  if added == 1 then
    hold(window, ticket)
    window.flying = window.flying + 1
  end
  keep(window)
end

local function land(window, ticket, age)
  local flew = redis.call('ZREM', window.flights, ticket)
  local added = redis.call('ZADD', window.log, text(now - age), ticket)
  if flew == 0 and added == 1 then
    hold(window, ticket)
  end
  keep(window)
  window.flying, window.used = window.flying - flew, window.used + added
  if window.peak and window.used > window.peak then
    -- The server let so many through: that much is ours.
    redis.call('HSET', window.state, 'peak', window.used)
  end
end

local function drop(window, ticket)
  local flew = redis.call('ZREM', window.flights, ticket)
  local used = redis.call('ZREM', window.log, ticket)
  if flew + used > 0 then
    unhold(window, ticket)
  end
  window.flying, window.used = window.flying - flew, window.used - used
end

-- Whether others use the key, and enough is in flight: any window may be full before we think so.
local function is_uncertain()
  local shared, flying = false, 0
  for _, window in ipairs(windows) do
    shared = shared or (window.peak and now < window.wary)
    flying = math.max(flying, window.flying)
  end
  return shared and flying >= config.cautious
end

local operations = {}

-- ticket, who, seconds to wait where only others' requests in flight are in the way
function operations.acquire()
  local ticket, who, nap = ARGV[3], ARGV[4], tonumber(ARGV[5])
  if redis.call('ZREM', gone, ticket) == 1 then
    return nap, 0
  end
  if redis.call('ZSCORE', windows[1].flights, ticket) then
    return 0, 0 -- asked twice, because the first answer was lost
  end
  local since, waits, known, longest = now, {}, {}, 0
  for _, window in ipairs(windows) do
    local stands = window.waiters[who]
    since = stands and math.min(since, stands.since) or since
  end
  for i, window in ipairs(windows) do
    waits[i], known[i] = wait_for(window, who, since, nap)
    longest = math.max(longest, waits[i])
  end
  if longest == 0 and is_uncertain() then
    longest = nap
  end
  if longest > 0 then
    -- Places may come free earlier than can be known: they are given back, or a share grows.
    longest = math.min(longest, config.patience)
    for i, window in ipairs(windows) do
      if waits[i] > 0 or window.waiters[who] then
        local due = known[i] and now + longest or now
        stand(window, who, since, due, now + longest + config.grace, waits[i] > 0)
      end
    end
    return longest, 0
  end
  for _, window in ipairs(windows) do
    take(window, ticket, 0)
    if window.waiters[who] and window.seconds > 0 then
      -- Its next request is likely to follow at once: it keeps its part for that long.
      stand(window, who, now, now, now + config.linger, true)
    elseif window.waiters[who] then
      redis.call('HDEL', window.queue, who)
    end
  end
  return 0, 0
end

-- Triples: ticket, what became of it, seconds since then. `fly`: it is in flight; `free`: its
-- places are given back; `gone`: the same, and its `acquire` may be on its way still; a number:
-- it was answered, and this window did not count it (0: all did).
function operations.finish()
  for i = 3, #ARGV, 3 do
    local ticket, what, age = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    for index, window in ipairs(windows) do
      if what == 'fly' then
        take(window, ticket, age)
      elseif tonumber(what) and tonumber(what) ~= index and window.seconds > 0 then
        land(window, ticket, age)
      else
        drop(window, ticket)
      end
    end
    if what == 'gone' then
      redis.call('ZREMRANGEBYSCORE', gone, '-inf', text(now))
      redis.call('ZADD', gone, text(now + config.grace), ticket)
      redis.call('PEXPIRE', gone, config.forget)
    end
  end
  return 0, 0
end

-- who: its first request does not wait any more; another of the same process may follow
function operations.leave()
  for _, window in ipairs(windows) do
    local waiter = window.waiters[ARGV[3]]
    if waiter then
      stand(window, ARGV[3], waiter.since, waiter.due, now + config.leave, waiter.here)
    end
  end
  return 0, 0
end

-- index, seconds, 1 to learn from it
function operations.close()
  local window = windows[tonumber(ARGV[3])]
  window.closed = math.max(window.closed, tonumber(ARGV[4]))
  redis.call('HSET', window.state, 'closed', text(now + window.closed))
  if ARGV[5] == '1' then
    if window.peak and now - window.since > window.pace then
      window.cycles = window.cycles + 1
    end
    window.peak = math.max(1, window.seconds > 0 and window.used or window.flying - 1)
    window.since = now + window.closed
    window.pace = window.paces[math.min(window.cycles + 1, #window.paces)]
    redis.call(
      'HSET', window.state, 'peak', window.peak, 'since', text(window.since),
      'pace', text(window.pace), 'cycles', window.cycles,
      'wary', text(window.since + 2 * window.pace))
    window.share = share_of(window)
  end
  redis.call('PEXPIRE', window.state, config.remember)
  return 0, 0
end

-- who, how many others go before it
function operations.forecast()
  local longest, culprit = 0, 1
  for index, window in ipairs(windows) do
    local stands = window.waiters[ARGV[3]]
    local _, ahead = others(window, ARGV[3], stands and stands.since or now)
    ahead = ahead + tonumber(ARGV[4])
    local excess = ahead % window.limit - (window.limit - window.used - window.flying)
    local first = 0
    if excess >= 0 then
      first = excess < window.used and departure(window, excess) or window.stay
    end
    local seconds = math.max(first, window.watched and 0 or window.closed)
      + math.floor(ahead / window.limit) * window.stay
    if seconds > longest then
      longest, culprit = seconds, index
    end
  end
  return longest, culprit - 1
end

function operations.look()
  return 0, 0
end

local seconds, index = operations[ARGV[1]]()
local answer = {text(seconds), tostring(index), began}
for _, window in ipairs(windows) do
  local reset = window.used > 0 and departure(window, 0) or 0
  for _, value in ipairs({
    window.used, window.flying, window.share, reset, window.watched and 0 or window.closed,
    redis.call('HLEN', window.holders),
  }) do
    answer[#answer + 1] = text(value)
  end
end
return answer
