"""Charges orders: what is declined is not tried again, what the bank cannot answer now is, what is no order is not."""

import logging
import time
from typing import Any

from pydantic import BaseModel, Field

from penstock_client import ReceivedMessage
from penstock_client.worker import App, CallNext, Reject, Retry, RetryLater

app = App(name="orders")
log = logging.getLogger("orders")


class Order(BaseModel):
    """What is published to ``orders``."""

    id: str
    amount: int = Field(gt=0)


class Receipt(BaseModel):
    """What is published to ``receipts``."""

    order: str
    amount: int


class Bank:
    """Stands for something far away that is sometimes closed."""

    limit = 1000

    async def charge(self, order: Order) -> None:
        """Raises PermissionError when it declines."""
        if order.amount > self.limit:
            raise PermissionError(f"{order.amount} is above the limit of {self.limit}")


@app.on_startup
async def open_bank() -> None:
    """What handlers share is made before the first message comes."""
    app.state.bank = Bank()


@app.middleware
async def timed(message: ReceivedMessage, call_next: CallNext) -> Any:
    """Log how long each handler took."""
    start_s = time.perf_counter()
    try:
        return await call_next(message)
    finally:
        log.info("%r took %.1f ms", message, (time.perf_counter() - start_s) * 1000)


@app.worker("orders", concurrency=10, retry=Retry(max_failures=5, backoff=(1, 60)), results="receipts")
async def charge(order: Order, message: ReceivedMessage) -> Receipt:
    """Charge an order, once for each id: a message may come twice."""
    try:
        await app.state.bank.charge(order)
    except PermissionError as error:
        raise Reject(f"declined: {error}") from error
    except ConnectionError as error:
        raise RetryLater(10 * message.attempt, f"the bank is closed: {error}") from error
    return Receipt(order=order.id, amount=order.amount)
