-- Sliding windows as in memory.py, shared by several processes, with a FIFO queue of processes.
--
-- KEYS: clock, abandoned; then for each window completed, in_flight, processes, waiters, state.
--   clock      hash: the latest time seen (last), how far the server's clock was set back since
--              (offset), and when the data began (epoch): another epoch means that all was lost
--   abandoned  sorted set: tickets that were given up while their `acquire` may still arrive
--   completed  sorted set: completed requests by the time of their completion
--   in_flight  sorted set: requests in flight by the end of their lease
--   processes  hash: how many requests of these two sets each process has
--   waiters    hash: each waiting owner with four values: since when it waits, when it calls
--              again, until when it is believed to be alive, and whether this window makes it
--              wait; an owner waits at most once in each window
--   state      hash: blocked_until; and after a 429 capacity, recovery_start, recovery_seconds,
--              cycles, contended_until
-- ARGV: the operation, the configuration as JSON, then the arguments of the operation.
-- A ticket is named process.windows.number; an owner is named process.windows.
--
-- Every result starts with seconds, the index of a window and the epoch, followed by six values
-- for each window: completed, in flight, share, seconds to reset, seconds blocked, processes.

local config = cjson.decode(ARGV[2])
local clock, abandoned = KEYS[1], KEYS[2]

local function text(seconds)
  return string.format('%.6f', seconds)
end

-- Return the server's time and the epoch. The time never runs backwards, though the server's clock
-- may be set back, or a replica with another clock may take over.
local function time()
  local parts = redis.call('TIME')
  local raw = tonumber(parts[1]) + tonumber(parts[2]) / 1000000
  local stored = redis.call('HMGET', clock, 'last', 'offset', 'epoch')
  local last, offset = tonumber(stored[1] or raw), tonumber(stored[2] or 0)
  if raw < last then
    offset = offset + last - raw
  end
  local epoch = stored[3] or text(raw)
  redis.call('HSET', clock, 'last', text(raw), 'offset', text(offset), 'epoch', epoch)
  redis.call('PEXPIRE', clock, config.state_expiry)
  return raw + offset, epoch
end

local now, epoch = time()

local function process_of(name)
  return string.match(name, '^[^.]+')
end

local function count_process(window, name)
  if window.seconds > 0 then
    redis.call('HINCRBY', window.processes, process_of(name), 1)
  end
end

local function uncount_process(window, name)
  local process = process_of(name)
  if window.seconds > 0 and redis.call('HINCRBY', window.processes, process, -1) <= 0 then
    redis.call('HDEL', window.processes, process)
  end
end

-- The three keys expire together: what one counts, another lists.
local function extend_expiry(window)
  redis.call('PEXPIRE', window.completed, window.expiry)
  redis.call('PEXPIRE', window.in_flight_key, window.expiry)
  redis.call('PEXPIRE', window.processes, window.expiry)
end

local function evict(window)
  local ended = redis.call('ZRANGEBYSCORE', window.in_flight_key, '-inf', text(now), 'WITHSCORES')
  for i = 1, #ended, 2 do
    redis.call('ZREM', window.in_flight_key, ended[i])
    if window.seconds > 0 then
      -- Completed when the lease ended, not when that is noticed.
      redis.call('ZADD', window.completed, ended[i + 1], ended[i])
    end
  end
  if window.seconds > 0 then
    local edge = text(now - window.retention)
    local old = redis.call('ZRANGEBYSCORE', window.completed, '-inf', edge)
    for _, ticket in ipairs(old) do
      uncount_process(window, ticket)
    end
    if #old > 0 then
      redis.call('ZREMRANGEBYSCORE', window.completed, '-inf', edge)
    end
    if #ended > 0 then
      extend_expiry(window)
    end
  end
end

-- Return the waiting owners by name.
local function read_waiters(key)
  local listed, waiters = redis.call('HGETALL', key), {}
  for i = 1, #listed, 2 do
    local since, due, alive_until, here =
      string.match(listed[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
    if tonumber(alive_until) > now then
      waiters[listed[i]] = {since = tonumber(since), due = tonumber(due), here = here == '1'}
    else
      redis.call('HDEL', key, listed[i])
    end
  end
  return waiters
end

-- Return the usable share of the limit; see memory.py and adaptive.allowed_requests.
local function share_of(window)
  if not window.capacity then
    return window.requests
  end
  if 2 * (window.used + window.in_flight) < window.capacity
    and now - window.recovery_start > window.recovery_seconds then
    window.recovery_start = now - window.recovery_seconds
    redis.call('HSET', window.state, 'recovery_start', text(window.recovery_start))
    redis.call('PEXPIRE', window.state, config.state_expiry)
  end
  local progress = (now - window.recovery_start) / window.recovery_seconds - 1
  local scale = progress < 0 and math.max(1, config.backoff_fraction * window.capacity)
    or math.max(1, config.probe_fraction * window.requests)
  local grown = math.max(window.min_share, math.floor(window.capacity + progress ^ 3 * scale))
  if grown < window.requests then
    return grown
  end
  redis.call('HDEL', window.state,
    'capacity', 'recovery_start', 'recovery_seconds', 'cycles', 'contended_until')
  window.capacity, window.cycles = nil, 0
  return window.requests
end

-- Return the seconds from now until the share reaches a target; see adaptive.seconds_until_share.
local function seconds_until_share(window, target)
  local gap = target - window.capacity
  local scale = gap < 0 and math.max(1, config.backoff_fraction * window.capacity)
    or math.max(1, config.probe_fraction * window.requests)
  local root = (math.abs(gap) / scale) ^ (1 / 3)
  return window.recovery_start + window.recovery_seconds * (1 + (gap < 0 and -root or root)) - now
end

local function read_window(index)
  local limit, first = config.limits[index], 5 * index - 3
  local window = {
    requests = limit.requests,
    unenforced = limit.unenforced,
    seconds = limit.seconds,
    retention = limit.retention,
    min_share = limit.min_share,
    max_probes = limit.max_probes,
    recoveries = limit.recovery_seconds,
    lease = limit.lease,
    expiry = limit.expiry,
    completed = KEYS[first + 1],
    in_flight_key = KEYS[first + 2],
    processes = KEYS[first + 3],
    waiters_key = KEYS[first + 4],
    state = KEYS[first + 5],
  }
  evict(window)
  window.used = redis.call('ZCARD', window.completed)
  window.in_flight = redis.call('ZCARD', window.in_flight_key)
  if window.used + window.in_flight == 0 then
    redis.call('DEL', window.processes)
  end
  local state = redis.call('HMGET', window.state, 'blocked_until', 'capacity', 'recovery_start',
    'recovery_seconds', 'cycles', 'contended_until')
  window.blocked_for = math.max(0, tonumber(state[1] or 0) - now)
  window.capacity = tonumber(state[2])
  window.recovery_start = tonumber(state[3] or now)
  window.recovery_seconds = tonumber(state[4] or window.recoveries[1])
  window.cycles = tonumber(state[5] or 0)
  window.contended_until = tonumber(state[6] or 0)
  window.share = share_of(window)
  window.waiters = read_waiters(window.waiters_key)
  return window
end

local windows = {}
for index = 1, #config.limits do
  windows[index] = read_window(index)
end

-- Return the seconds until the completed request at a position leaves the window.
local function seconds_until_departure(window, position)
  local entry = redis.call('ZRANGE', window.completed, position, position, 'WITHSCORES')
  return entry[2] and math.max(0, tonumber(entry[2]) + window.retention - now)
    or window.retention
end

local function is_before(name, waiter, owner, since)
  return waiter.since < since or (waiter.since == since and name < owner)
end

-- Return how much capacity is reserved for other owners, and how many of them go first.
--
-- An owner whose process has less than an equal share of the window goes before one whose process
-- has more; otherwise, owners go in order of arrival. Capacity up to their equal share is reserved
-- for waiting processes against those that already have theirs: without that, the process nearest
-- to Redis would get most of it. Nothing is reserved for an owner that sleeps until a later time.
local function reserved_for_others(window, owner, since)
  local reserved, ahead, counts = 0, 0, {}
  if next(window.waiters) == nil then
    return 0, 0
  end
  local function count_of(process)
    if not counts[process] then
      counts[process] = tonumber(redis.call('HGET', window.processes, process) or 0)
    end
    return counts[process]
  end
  local mine = count_of(process_of(owner))
  local active = redis.call('HLEN', window.processes) + (mine == 0 and 1 or 0)
  for name in pairs(window.waiters) do
    local process = process_of(name)
    if not counts[process] and count_of(process) == 0 then
      active = active + 1
    end
  end
  local equal_share, served = math.max(1, math.floor(window.share / active)), {}
  for name, waiter in pairs(window.waiters) do
    local process, places = process_of(name), 0
    local below_share = count_of(process) < equal_share
    if name ~= owner and window.seconds > 0 and below_share and mine >= equal_share then
      places = 1
      if waiter.here and not served[process] then
        -- Once for each process: its owners share its part.
        places, served[process] = equal_share - count_of(process), true
      end
    elseif name ~= owner and is_before(name, waiter, owner, since) then
      if window.seconds == 0 or below_share == (mine < equal_share) then
        places = 1
      end
    end
    reserved = reserved + (waiter.due <= now and places or 0)
    ahead = ahead + math.min(1, places)
  end
  return reserved, ahead
end

-- Return the seconds until there may be capacity (0: there is), and whether that time is certain.
local function wait_for_capacity(window, owner, since, poll)
  local reserved, ahead = reserved_for_others(window, owner, since)
  local taken = window.used + window.in_flight
  if window.share - taken > reserved then
    local near = window.capacity and taken >= config.near_capacity * window.capacity
    return near and window.in_flight >= window.max_probes and poll or 0, false
  end
  local excess, seconds, certain = taken + ahead - window.share, poll, false
  if excess >= 0 and excess < window.used then
    seconds, certain = seconds_until_departure(window, excess), true
  end
  if window.capacity and taken < window.requests then
    seconds = math.min(seconds, seconds_until_share(window, taken + ahead + 1))
  end
  return math.max(seconds, 0.001), certain
end

local function wait_seconds(window, owner, since, poll)
  local seconds, certain = wait_for_capacity(window, owner, since, poll)
  if window.blocked_for > seconds and not window.unenforced then
    return window.blocked_for, true
  end
  return seconds, certain
end

local function set_waiter(window, owner, since, due, alive_until, here)
  local entry = string.format('%.6f %.6f %.6f %d', since, due, alive_until, here and 1 or 0)
  redis.call('HSET', window.waiters_key, owner, entry)
  redis.call('PEXPIRE', window.waiters_key, config.queue_expiry)
end

local function acquire(window, ticket, age)
  local added = redis.call('ZADD', window.in_flight_key, text(now + window.lease - age), ticket)
  if added == 1 then
    count_process(window, ticket)
    window.in_flight = window.in_flight + 1
  end
  extend_expiry(window)
end

local function complete(window, ticket, age)
  local removed = redis.call('ZREM', window.in_flight_key, ticket)
  local added = redis.call('ZADD', window.completed, text(now - age), ticket)
  if removed == 0 and added == 1 then
    count_process(window, ticket)
  end
  extend_expiry(window)
  window.in_flight, window.used = window.in_flight - removed, window.used + added
  if window.capacity and window.used > window.capacity then
    -- The server accepted more than it did at the 429, so the capacity is larger.
    redis.call('HSET', window.state, 'capacity', window.used)
  end
end

local function release(window, ticket)
  local in_flight = redis.call('ZREM', window.in_flight_key, ticket)
  local used = redis.call('ZREM', window.completed, ticket)
  if in_flight + used > 0 then
    uncount_process(window, ticket)
  end
  window.in_flight, window.used = window.in_flight - in_flight, window.used - used
end

-- Return whether other clients use the key and enough is in flight: then any window may be full
-- before it seems to be.
local function is_contended()
  local contended, in_flight = false, 0
  for _, window in ipairs(windows) do
    contended = contended or (window.capacity and now < window.contended_until)
    in_flight = math.max(in_flight, window.in_flight)
  end
  return contended and in_flight >= config.max_contended_in_flight
end

local operations = {}

-- Arguments: ticket, owner, seconds to wait where only requests in flight are in the way.
function operations.acquire()
  local ticket, owner, poll = ARGV[3], ARGV[4], tonumber(ARGV[5])
  if redis.call('ZREM', abandoned, ticket) == 1 then
    -- The command was delayed on its way; its caller has stopped waiting.
    return poll, 0
  end
  if redis.call('ZSCORE', windows[1].in_flight_key, ticket) then
    return 0, 0 -- The response to an earlier call was lost.
  end
  local since, waits, certain, longest = now, {}, {}, 0
  for _, window in ipairs(windows) do
    local waiter = window.waiters[owner]
    since = waiter and math.min(since, waiter.since) or since
  end
  for i, window in ipairs(windows) do
    waits[i], certain[i] = wait_seconds(window, owner, since, poll)
    longest = math.max(longest, waits[i])
  end
  if longest == 0 and is_contended() then
    longest = poll
  end
  if longest > 0 then
    -- Capacity may become free earlier than predicted: requests are released, a share grows.
    longest = math.min(longest, config.max_wait)
    for i, window in ipairs(windows) do
      if waits[i] > 0 or window.waiters[owner] then
        local due = certain[i] and now + longest or now
        set_waiter(window, owner, since, due, now + longest + config.grace, waits[i] > 0)
      end
    end
    return longest, 0
  end
  for _, window in ipairs(windows) do
    acquire(window, ticket, 0)
    if window.waiters[owner] and window.seconds > 0 then
      -- Its next request is likely to follow at once: reserve its share for that long.
      set_waiter(window, owner, now, now, now + config.linger, true)
    elseif window.waiters[owner] then
      redis.call('HDEL', window.waiters_key, owner)
    end
  end
  return 0, 0
end

-- Arguments: triples of ticket, state, and seconds since then. States: `acquired`: in flight;
-- `released`: not sent; `abandoned`: the same, and its `acquire` may still arrive; a number:
-- completed, and refused by the window of that number (0: by none).
function operations.update()
  for i = 3, #ARGV, 3 do
    local ticket, state, age = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    for index, window in ipairs(windows) do
      if state == 'acquired' then
        acquire(window, ticket, age)
      elseif tonumber(state) and tonumber(state) ~= index and window.seconds > 0 then
        complete(window, ticket, age)
      else
        release(window, ticket)
      end
    end
    if state == 'abandoned' then
      redis.call('ZREMRANGEBYSCORE', abandoned, '-inf', text(now))
      redis.call('ZADD', abandoned, text(now + config.grace), ticket)
      redis.call('PEXPIRE', abandoned, config.queue_expiry)
    end
  end
  return 0, 0
end

-- Argument: an owner whose first request has stopped waiting. It keeps its position for a moment,
-- because another request of its process may take it.
function operations.leave()
  for _, window in ipairs(windows) do
    local waiter = window.waiters[ARGV[3]]
    if waiter then
      set_waiter(window, ARGV[3], waiter.since, waiter.due, now + config.leave, waiter.here)
    end
  end
  return 0, 0
end

-- Arguments: index, seconds, 1 to adapt the share.
function operations.block()
  local window = windows[tonumber(ARGV[3])]
  window.blocked_for = math.max(window.blocked_for, tonumber(ARGV[4]))
  redis.call('HSET', window.state, 'blocked_until', text(now + window.blocked_for))
  if ARGV[5] == '1' then
    if window.capacity and now - window.recovery_start > window.recovery_seconds then
      window.cycles = window.cycles + 1
    end
    window.capacity = math.max(1, window.seconds > 0 and window.used or window.in_flight - 1)
    window.recovery_start = now + window.blocked_for
    window.recovery_seconds = window.recoveries[math.min(window.cycles + 1, #window.recoveries)]
    redis.call(
      'HSET', window.state, 'capacity', window.capacity,
      'recovery_start', text(window.recovery_start),
      'recovery_seconds', text(window.recovery_seconds), 'cycles', window.cycles,
      'contended_until', text(window.recovery_start + 2 * window.recovery_seconds))
    window.share = share_of(window)
  end
  redis.call('PEXPIRE', window.state, config.state_expiry)
  return 0, 0
end

-- Arguments: owner, how many other requests are admitted before it.
function operations.estimate_wait()
  local longest, slowest = 0, 1
  for index, window in ipairs(windows) do
    local waiter = window.waiters[ARGV[3]]
    local _, ahead = reserved_for_others(window, ARGV[3], waiter and waiter.since or now)
    ahead = ahead + tonumber(ARGV[4])
    local excess = ahead % window.requests - (window.requests - window.used - window.in_flight)
    local wait = 0
    if excess >= 0 then
      wait = excess < window.used and seconds_until_departure(window, excess)
        or window.retention
    end
    local seconds = math.max(wait, window.unenforced and 0 or window.blocked_for)
      + math.floor(ahead / window.requests) * window.retention
    if seconds > longest then
      longest, slowest = seconds, index
    end
  end
  return longest, slowest - 1
end

function operations.usage()
  return 0, 0
end

local seconds, index = operations[ARGV[1]]()
local result = {text(seconds), tostring(index), epoch}
for _, window in ipairs(windows) do
  local reset = window.used > 0 and seconds_until_departure(window, 0) or 0
  for _, value in ipairs({
    window.used, window.in_flight, window.share, reset,
    window.unenforced and 0 or window.blocked_for,
    redis.call('HLEN', window.processes),
  }) do
    result[#result + 1] = text(value)
  end
end
return result
