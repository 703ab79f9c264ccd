"""Workers: a handler per queue, and everything around it done for you.

    from pydantic import BaseModel
    from penstock_client.worker import App, Retry

    app = App("penstock://127.0.0.1:7419")

    class Order(BaseModel):
        id: str
        amount: int

    @app.worker("orders", concurrency=10, retry=Retry(max_failures=5, backoff=(1, 60), never=(ValueError,)))
    async def charge(order: Order) -> None:
        ...

    if __name__ == "__main__":
        app.run()                                   # or: penstock worker orders:app --processes 4

A handler that returns is done: its message is acknowledged. One that raises has failed: its message comes back after
the queue's backoff and dies at ``max_failures``, with the traceback in its history. Models need pydantic
(``pip install penstock-client[worker]``); handlers of ``bytes``, ``str``, ``dict`` and ``list`` do not.

``penstock_client.worker.testing`` runs a handler on a message without a broker.
"""

from penstock_client.worker.app import App
from penstock_client.worker.errors import BadHandler, InvalidPayload
from penstock_client.worker.outcomes import Answer, Outcome, Verdict
from penstock_client.worker.retry import Reject, Retry, RetryLater
from penstock_client.worker.worker import CallNext, Middleware

__all__ = [
    "Answer",
    "App",
    "BadHandler",
    "CallNext",
    "InvalidPayload",
    "Middleware",
    "Outcome",
    "Reject",
    "Retry",
    "RetryLater",
    "Verdict",
]
