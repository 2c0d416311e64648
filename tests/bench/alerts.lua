-- Load for prometheus-alertmanager: every request is one alert of another host, as a monitoring system would post it.
local counter = 0

function setup(thread)
  thread:set("id", counter)
  counter = counter + 1
end

function init(args)
  n = id * 5000
end

function request()
  n = n + 1
  local host = id * 5000 + n % 5000
  local body = '[{"labels":{"alertname":"DiskFull","instance":"h' .. host .. '","severity":"high"},"annotations":{"summary":"' ..
    ("x"):rep(200) .. '"}}]'
  return wrk.format("POST", "/api/v2/alerts", {["Content-Type"] = "application/json"}, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"seconds":%.3f,"p99_ms":%.3f,"bad":%d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(99) / 1e3, e.status))
end
