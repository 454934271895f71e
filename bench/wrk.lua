-- The token comes in the environment, where no other user can read it; the figures go out as one line of JSON.
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
wrk.headers["apikey"] = os.getenv("SUPABASE_PUBLISHABLE_KEY")
wrk.headers["Content-Type"] = "application/json"
wrk.body = os.getenv("BODY") or ""

function done(summary, latency, _requests)
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  ))
end
