"""`python -m tests.browser.quick`: r2bq as it is, but that a resend is judged when it is two seconds old, not sixty."""

from r2bq import resends

resends.RIPE_SECONDS = 2  # before anything else of r2bq reads it

from r2bq.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
