-- A realistic beacon for wrk, each with an address of its own.
local n = 0
wrk.headers["User-Agent"] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
request = function()
  n = n + 1
  return wrk.format("GET", "/swallow/bizocean?oid=2&evt=pageview&uid=1084205&sid=86895a04e5a59600&enc=UTF-8"
    .. "&tit=%E3%81%8A%E5%95%8F%E3%81%84%E5%90%88%E3%82%8F%E3%81%9B&scr=1920x1080&vie=1903x510"
    .. "&ref=https%3A%2F%2Fwww.example.jp%2F&url=https%3A%2F%2Fwww.example.jp%2Fpage%2F" .. n
    .. "&jsn=%7B%22pageX%22%3A820%2C%22kwd%22%3A%22%E3%83%9D%E3%82%B1%22%7D")
end
