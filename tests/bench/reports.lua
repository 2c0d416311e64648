-- Load for the intake: every request is another host's next report, as its agent would send it.
-- Clocks are truthful, since the collector judges them: a frozen wall clock would make every host a finding of its own.
-- Arguments: tokens file; kind (beat | finding: one that the tick only records | storm: one that it must judge); reports a
-- second of all threads together (0 = as many as are taken), which come by chance as hosts do (a Poisson stream: equal
-- pauses would let every connection send in the same moment, again and again); when the hosts booted, epoch ms; threads;
-- first host and number of hosts (a host's findings are numbered from 1 in each run).
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long us; } tv_t; int gettimeofday(tv_t *tv, void *tz);")
local threads, counter = {}, 0

local tv = ffi.new("tv_t")
local function now_ms()
  ffi.C.gettimeofday(tv, nil)
  return tonumber(tv.s) * 1000 + math.floor(tonumber(tv.us) / 1000)
end

function setup(thread)
  thread:set("id", counter)
  counter = counter + 1
  table.insert(threads, thread)
end

function init(args)
  kind = args[2]
  booted = tonumber(args[4])
  total = tonumber(args[5] or "1")
  local rate = tonumber(args[3] or "0") / total
  gap = rate > 0 and 1000 / rate or 0
  math.randomseed(id + 1)
  tokens = {}
  local n = 0
  local first, count = tonumber(args[6]), tonumber(args[7])
  for line in io.lines(args[1]) do
    if n % total == id and n >= first and n < first + count then tokens[#tokens + 1] = line end
    n = n + 1
  end
  at, ns = 0, {}
  for i = 1, #tokens do ns[i] = 0 end
  local wall = now_ms()
  local vitals = {}
  for name in ("cpu.user_pct cpu.sys_pct cpu.iowait_pct cpu.steal_pct cpu.online cpu.spin_score agent.cpu_ms load.per_cpu " ..
    "sched.runq_per_cpu psi.cpu_some60 psi.mem_full60 psi.io_full60 mem.total_mb mem.avail_pct swap.out_mbps disk.await_ms " ..
    "disk.iops disk.qdepth disk.probe_ms fs.used_pct net.in_mbps net.in_kpps net.ladder clk.ntp_offset_ms"):gmatch("%S+") do
    vitals[#vitals + 1] = '"' .. name .. '":12.25'
  end
  head = '{"v":1,"agent":"0.1.0","boot_id":"00000000-0000-0000-0000-00000000b007","run_id":"bench","wall_ms":%d,"mono_ms":%d' ..
    ',"boottime_ms":%d,"interval_s":10.0,"stream":"bench","vitals":{' .. table.concat(vitals, ",") ..
    '},"sweep_age_s":{"cpu":1.5,"memory":1.5,"disk":1.5,"fs":1.5,"network":1.5,"units":9.0,"processes":9.0},"spool_depth":0'
  local lines = {}
  for i = 1, 8 do
    lines[#lines + 1] = '{"at_ms":' .. wall .. ',"source":"kernel","text":"' .. ("EXT4-fs warning (device vda1): "):rep(4) .. i .. '"}'
  end
  local facts = {}
  for i = 1, 8 do facts[#facts + 1] = '"fs.fact_' .. i .. '":{"now":97.5,"before":61.0,"usual":58.5,"unit":"%%"}' end
  finding = ',"findings":[{"n":%d,"kind":"' .. (kind == "storm" and "changed" or "closed") .. '","opening_n":1,"rule":"cpu_busy","subject":"","family":"cpu","at_ms":' ..
    wall .. ',"severity":"low","facts":{' .. table.concat(facts, ",") .. '},"evidence":{"log":[' .. table.concat(lines, ",") .. ']}}]'
end

function request()
  -- wrk asks the first thread once for a request that it never sends; it must not use up a finding's number.
  if id == 0 and not rehearsed then
    rehearsed = true
    return wrk.format("POST", "/api/v1/reports", {}, "")
  end
  at = at % #tokens + 1
  local wall = now_ms()
  local up = wall - booted
  local body = head:format(wall, up, up)
  if kind ~= "beat" then
    ns[at] = ns[at] + 1
    body = body .. finding:format(ns[at])
  end
  return wrk.format("POST", "/api/v1/reports", {["Authorization"] = "Bearer " .. tokens[at]}, body .. "}")
end

-- Whichever connection is free takes the next arrival of its thread.
function delay()
  if gap == 0 then return 0 end
  local now = now_ms()
  due = (due or now) - gap * math.log(1 - math.random())
  return math.max(0, math.floor(due - now + 0.5))
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"bad":%d,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
