import pytest

from arms.devices import device

AGENTS = {
    "pc": [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 Chrome/32.0 Safari/537.36",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:27.0) Gecko/20100101 Firefox/27.0",
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
    ],
    "mobile": [
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36",
        "DoCoMo/2.0 P903i",
    ],
    "tablet": [
        "Mozilla/5.0 (iPad; CPU OS 9_0 like Mac OS X) AppleWebKit/601.1 Mobile/13A344 Safari/601.1",
        "Mozilla/5.0 (Linux; Android 13; SM-X900) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
    ],
    "bot": ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "curl/7.88.1", "Wget/1.21"],
    "": ["", "-", "something nobody knows"],
}


@pytest.mark.parametrize(("expected", "agent"), [(kind, agent) for kind, agents in AGENTS.items() for agent in agents])
def test_a_user_agent_tells_its_device(expected: str, agent: str) -> None:
    assert device(agent) == expected
