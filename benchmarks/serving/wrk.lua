-- Requests out of a file, one a line, over and over, with a key if one is given; at the end one line with what became of them.
local bodies, place, path = {}, 0, nil

function init(arguments)
  path = arguments[1]
  local headers = { ["Content-Type"] = "application/json" }
  if arguments[3] and arguments[3] ~= "" then
    headers["Authorization"] = "Bearer " .. arguments[3]
  end
  for line in io.lines(arguments[2]) do
    bodies[#bodies + 1] = wrk.format("POST", path, headers, line)
  end
end

function request()
  place = place % #bodies + 1
  return bodies[place]
end

function done(summary, latency, requests)
  local wrong = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "wrong": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, wrong, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
