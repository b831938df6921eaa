-- A page view as our tracker sends it, alone in a POST, for wrk; each with an address and a name of its own.
local n = 0
wrk.headers["User-Agent"] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
wrk.headers["Content-Type"] = "text/plain;charset=UTF-8"
wrk.headers["Origin"] = "https://www.example.jp"
wrk.headers["Referer"] = "https://www.example.jp/"
local seed = os.time() % 0x10000000
request = function()
  n = n + 1
  return wrk.format("POST", "/swallow/bizocean", nil, '{"oid":"2","evt":"pageview","ref":"https://www.example.jp/"'
    .. ',"tit":"お問い合わせ","url":"https://www.example.jp/page/' .. n .. '","enc":"UTF-8","scr":"1920x1080","vie":"1903x510"'
    .. ',"pid":"0123456789abcdef","lang":"ja-JP","tz":"Asia/Tokyo","ver":"0.1.0","sid":"86895a04e5a59600","late":"0","cid":"'
    .. string.format("%016x%016x", seed, n) .. '"}')
end
