"""What can go wrong, one class per thing that a caller would handle differently; ``code`` is the protocol's name."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

from penstock_client.wire.errors import ErrorCode

if TYPE_CHECKING:
    from penstock_client.reply import Reply, ReplyError


class PenstockError(Exception):
    """Every error of this package. ``code`` is stable: a name of the protocol, or one of this client's own."""

    code: str = "client-error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConnectionLost(PenstockError):
    """The connection is gone and was not won back in time, or what was asked cannot be asked again safely.

    ``closed_for`` is the code of the error with which the broker closed it, empty where it did not say.
    """

    code = "connection-lost"
    closed_for = ""


class ConnectionRefused(PenstockError):
    """The broker does not let this client in: wrong protocol, failed authentication, too many connections."""

    code = "connection-refused"


class ClientClosed(PenstockError):
    """The client was closed; connect again."""

    code = "client-closed"


class RequestTimeout(PenstockError):
    """No answer in time. Whether the request was carried out is not known."""

    code = "request-timeout"


class NoReply(PenstockError):
    """Nobody answered a request in time. Whoever has it by then may still carry it out; from its queue it expires."""

    code = "no-reply"


class ReplyFailed(PenstockError):
    """The answer to a request is that it failed. ``error`` says why, ``reply`` is the whole answer."""

    code = "reply-failed"

    def __init__(self, asked: str, reply: Reply, error: ReplyError) -> None:
        super().__init__(f"{asked}: the request failed: {error.message} ({error.code})")
        self.reply = reply
        self.error = error


class NotARequest(PenstockError):
    """The message to be answered names no ``reply_to``: nobody waits for an answer."""

    code = "not-a-request"


class ProtocolViolation(PenstockError):
    """The broker sent what the protocol does not allow."""

    code = "protocol-violation"


class UnknownQueue(PenstockError):
    """There is no queue of that name."""

    code = "unknown-queue"


class UnknownMessage(PenstockError):
    """There is no such message, or it is done."""

    code = "unknown-message"


class QueueDeleted(PenstockError):
    """The queue was deleted while it was consumed."""

    code = "queue-deleted"


class UnknownGroup(PenstockError):
    """The queue has no group of this name."""

    code = "unknown-group"


class GroupDeleted(PenstockError):
    """The group was deleted while it was used."""

    code = "group-deleted"


class GroupInUse(PenstockError):
    """The group was to be deleted only if nobody consumes from it."""

    code = "group-in-use"


class ExclusiveConsumer(PenstockError):
    """The group has an exclusive consumer, or has others while this one was to be exclusive."""

    code = "exclusive-consumer"


class ConsumerClosed(PenstockError):
    """An operator closed this consumer."""

    code = "consumer-closed"


class NotLeased(PenstockError):
    """Nobody holds the message."""

    code = "not-leased"


class MessageLeased(PenstockError):
    """The message is with a consumer: wait for it, or revoke its lease first."""

    code = "message-leased"


class SettingsDiffer(PenstockError):
    """The queue exists with other settings; the message names each."""

    code = "settings-differ"


class BadSetting(PenstockError):
    """A setting or an argument has a value that makes no sense; the message names it."""

    code = "bad-setting"


class BadSelector(PenstockError):
    """A selector is wrong; the message's second and third line point at the place."""

    code = "bad-selector"


class QueueNotEmpty(PenstockError):
    """The queue was to be deleted only if it is empty, or a new group would leave its messages to nobody."""

    code = "queue-not-empty"


class QueueInUse(PenstockError):
    """The queue was to be deleted only if nobody consumes from it."""

    code = "queue-in-use"


class LimitReached(PenstockError):
    """The broker has as many of these as it may have; the message names them."""

    code = "limit-reached"


class NotScheduled(PenstockError):
    """No message with this schedule id waits there: it is due or was cancelled, or there never was one."""

    code = "not-scheduled"


class UnknownSchedule(PenstockError):
    """There is no recurring schedule of that name."""

    code = "unknown-schedule"


class StaleDelivery(PenstockError):
    """The lease had ended: the message was or will be delivered again, and this outcome changed nothing."""

    code = "stale-delivery"


class TransactionFailed(PenstockError):
    """Nothing of the transaction happened; its messages are open as before, unless they are stale."""

    code = "transaction-failed"


class TransactionStale(TransactionFailed):
    """A message that the transaction acknowledges is not held any more: it was or will be delivered again."""

    code = "transaction-stale"


class TransactionConflict(TransactionFailed):
    """Another transaction changed a key of the group's state since it was read; the message names it. Read it again."""

    code = "transaction-conflict"


class TransactionTooLarge(TransactionFailed):
    """More than one transaction may have (``limits.transaction_*`` in the broker's settings)."""

    code = "transaction-too-large"


class TransactionUnknown(PenstockError):
    """Whether the transaction happened is not known: the connection was lost, or no answer came in time. The messages
    that it acknowledges are delivered again only if it did not.
    """

    code = "transaction-unknown"


class PublishRefused(PenstockError):
    """The broker did not store the message."""

    code = "publish-refused"


class PublishUnconfirmed(PenstockError):
    """It is not known whether the message was stored: the connection ended for good before its confirm."""

    code = "publish-unconfirmed"


class PublishFailed(PenstockError):
    """Some messages of a publisher were not stored. ``errors`` has the first errors, one for each failed block;
    ``count`` is how many messages failed.
    """

    code = "publish-failed"

    def __init__(self, errors: list[PenstockError], count: int) -> None:
        messages = "1 message" if count == 1 else f"{count} messages"
        super().__init__(f"{messages} not published, the first: {errors[0]}")
        self.errors = list(errors)
        self.count = count


class BodyTooLarge(PublishRefused):
    """The broker takes no body of this size (``limits.body_bytes_max`` in its settings)."""

    code = "body-too-large"


class UnknownExchange(PenstockError):
    """There is no exchange of that name."""

    code = "unknown-exchange"


class BadBinding(PenstockError):
    """A binding or routing key is wrong; the message says where and why."""

    code = "bad-binding"


class ExchangeInUse(PenstockError):
    """The exchange was to be deleted only if nothing is bound to it."""

    code = "exchange-in-use"


class Unroutable(PublishRefused):
    """No queue takes the message: nothing is bound so that it would, and there is no alternate exchange."""

    code = "unroutable"


class DiskFull(PublishRefused):
    """The broker's disk is full, or nearly; publish again when there is room."""

    code = "disk-full"


class MemoryFull(PublishRefused):
    """The broker's memory is nearly used up; publish again when there is room."""

    code = "memory-full"


class QueueFull(PublishRefused):
    """The queue is at its bound; publish again when consumers have made room."""

    code = "queue-full"


class UnknownNamespace(PenstockError):
    """There is no namespace of that name."""

    code = "unknown-namespace"


class NamespaceFull(PublishRefused):
    """The namespace is at one of its limits: queues, connections, or bytes."""

    code = "namespace-full"


class NamespaceInUse(PenstockError):
    """The namespace is not empty."""

    code = "namespace-in-use"


_BY_CODE: Final[dict[str, type[PenstockError]]] = {
    kind.code: kind
    for kind in (
        UnknownQueue,
        UnknownMessage,
        QueueDeleted,
        UnknownGroup,
        GroupDeleted,
        GroupInUse,
        ExclusiveConsumer,
        ConsumerClosed,
        NotLeased,
        MessageLeased,
        SettingsDiffer,
        BadSetting,
        BadSelector,
        QueueNotEmpty,
        QueueInUse,
        LimitReached,
        NotScheduled,
        UnknownSchedule,
        StaleDelivery,
        TransactionStale,
        TransactionConflict,
        TransactionTooLarge,
        BodyTooLarge,
        DiskFull,
        UnknownExchange,
        BadBinding,
        ExchangeInUse,
        Unroutable,
        MemoryFull,
        QueueFull,
        UnknownNamespace,
        NamespaceFull,
        NamespaceInUse,
    )
}

_PUBLISH_HELP: Final = {
    ErrorCode.UNROUTABLE: "no queue takes the message; bind one, or publish with mandatory=False",
    ErrorCode.UNKNOWN_EXCHANGE: "the exchange does not exist; declare it first",
    ErrorCode.UNKNOWN_ROUTE: "the queue does not exist; declare it first",
    ErrorCode.UNKNOWN_QUEUE: "the queue was deleted; declare it again",
    ErrorCode.DISK_FULL: "the broker's disk is full; it takes messages again when there is room (penstock status)",
    ErrorCode.MEMORY_FULL: "the broker's memory is full; it takes messages again when there is room (penstock status)",
    ErrorCode.QUEUE_FULL: "the queue is at its bound; it takes messages again when consumers have made room",
    ErrorCode.NAMESPACE_FULL: "its namespace stores as much as it may; consumers have to make room first",
    ErrorCode.BODY_TOO_LARGE: "the body is larger than the broker takes (limits.body_bytes_max)",
    ErrorCode.BAD_SETTING: "its delay or time to be delivered is not one the broker takes: at most 10 years ahead",
    ErrorCode.UNSUPPORTED: (
        "messages to be delivered later are for queues on disk that do not deduplicate, and not for exchanges"
    ),
    ErrorCode.WINDOW_EXCEEDED: "more unconfirmed messages than the broker's window",
}


def again(error: PenstockError) -> PenstockError:
    """Return the same error to raise once more: one that is raised in many places collects all their tracebacks."""
    copied = copy(error)
    copied.__traceback__ = None
    return copied


def text_of(error: BaseException) -> str:
    """Return what an exception says. The application's own may fail at that, which is no reason to fail as well."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  it is the application's code that runs here
        return f"(what it says cannot be told: {type(failure).__name__})"


def error_of(code: str, message: str) -> PenstockError:
    """Return the error for a refusal of the broker."""
    return _BY_CODE.get(code, PenstockError)(message, code)


def publish_error(code: int, where: str) -> PenstockError:
    """Return the error for a publish that was refused; ``where`` it went is in its message."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return PublishRefused(f"{where}: the broker refused the message with code {code}")
    text = f"{where}: {_PUBLISH_HELP.get(known, known.label)}"
    if known in (ErrorCode.UNKNOWN_ROUTE, ErrorCode.UNKNOWN_QUEUE):
        return UnknownQueue(text)
    if known == ErrorCode.UNKNOWN_EXCHANGE:
        return UnknownExchange(text)
    kind = _BY_CODE.get(known.label, PublishRefused)
    return (kind if issubclass(kind, PublishRefused) else PublishRefused)(text, known.label)
