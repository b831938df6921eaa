"""What an attacker meets: the application with a spool that keeps, or a running arms."""

from tests.arms.conftest import arms, make_arms, serve

__all__ = ["arms", "make_arms", "serve"]
