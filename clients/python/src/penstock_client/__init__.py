"""Client of the Penstock message broker.

    async with connect("penstock://127.0.0.1:7419") as client:
        jobs = client.queue("jobs")
        await jobs.declare()
        await jobs.publish(b"one")
        async with jobs.consume() as messages:
            async for message in messages:
                async with message:
                    work(message.body)

``penstock_client.sync`` is the same, blocking.
"""

from penstock_client.alarms import Alarm
from penstock_client.breakers import BreakerInfo
from penstock_client.client import Client, connect
from penstock_client.delivery import DeadLetter, Failure
from penstock_client.errors import (
    BadBinding,
    BadSelector,
    BadSetting,
    BodyTooLarge,
    ClientClosed,
    ConnectionLost,
    ConnectionRefused,
    ConsumerClosed,
    DiskFull,
    ExchangeInUse,
    ExclusiveConsumer,
    GroupDeleted,
    GroupInUse,
    LimitReached,
    MemoryFull,
    MessageLeased,
    NamespaceFull,
    NamespaceInUse,
    NoReply,
    NotARequest,
    NotLeased,
    NotScheduled,
    PenstockError,
    ProtocolViolation,
    PublishFailed,
    PublishRefused,
    PublishUnconfirmed,
    QueueDeleted,
    QueueFull,
    QueueInUse,
    QueueNotEmpty,
    ReplyFailed,
    RequestTimeout,
    SettingsDiffer,
    StaleDelivery,
    TransactionConflict,
    TransactionFailed,
    TransactionStale,
    TransactionTooLarge,
    TransactionUnknown,
    UnknownExchange,
    UnknownGroup,
    UnknownMessage,
    UnknownNamespace,
    UnknownQueue,
    UnknownSchedule,
    Unroutable,
)
from penstock_client.exchange import Binding, Exchange, ExchangeInfo
from penstock_client.exchange_publisher import ExchangePublisher
from penstock_client.finding import FoundMessage
from penstock_client.group import Group, GroupInfo
from penstock_client.groupstate import State
from penstock_client.history import History
from penstock_client.holders import ConnectionInfo, ConsumerInfo
from penstock_client.message import Confirm, Message
from penstock_client.messages import Messages
from penstock_client.namespaces import Namespace, NamespaceInfo
from penstock_client.publisher import ClientPublisher, Publisher
from penstock_client.queue import Queue
from penstock_client.queue_info import QueueInfo
from penstock_client.received import Batch, ReceivedMessage
from penstock_client.reply import Reply, ReplyError, ReplyOutcome
from penstock_client.scheduled import ScheduledMessage
from penstock_client.schedules import Schedule, ScheduleInfo
from penstock_client.transaction import Transaction

__version__ = "0.1.0"

__all__ = [
    "Alarm",
    "BadBinding",
    "BadSelector",
    "BadSetting",
    "Batch",
    "Binding",
    "BodyTooLarge",
    "BreakerInfo",
    "Client",
    "ClientClosed",
    "ClientPublisher",
    "Confirm",
    "ConnectionInfo",
    "ConnectionLost",
    "ConnectionRefused",
    "ConsumerClosed",
    "ConsumerInfo",
    "DeadLetter",
    "DiskFull",
    "Exchange",
    "ExchangeInUse",
    "ExchangeInfo",
    "ExchangePublisher",
    "ExclusiveConsumer",
    "Failure",
    "FoundMessage",
    "Group",
    "GroupDeleted",
    "GroupInUse",
    "GroupInfo",
    "History",
    "LimitReached",
    "MemoryFull",
    "Message",
    "MessageLeased",
    "Messages",
    "Namespace",
    "NamespaceFull",
    "NamespaceInUse",
    "NamespaceInfo",
    "NoReply",
    "NotARequest",
    "NotLeased",
    "NotScheduled",
    "PenstockError",
    "ProtocolViolation",
    "PublishFailed",
    "PublishRefused",
    "PublishUnconfirmed",
    "Publisher",
    "Queue",
    "QueueDeleted",
    "QueueFull",
    "QueueInUse",
    "QueueInfo",
    "QueueNotEmpty",
    "ReceivedMessage",
    "Reply",
    "ReplyError",
    "ReplyFailed",
    "ReplyOutcome",
    "RequestTimeout",
    "Schedule",
    "ScheduleInfo",
    "ScheduledMessage",
    "SettingsDiffer",
    "StaleDelivery",
    "State",
    "Transaction",
    "TransactionConflict",
    "TransactionFailed",
    "TransactionStale",
    "TransactionTooLarge",
    "TransactionUnknown",
    "UnknownExchange",
    "UnknownGroup",
    "UnknownMessage",
    "UnknownNamespace",
    "UnknownQueue",
    "UnknownSchedule",
    "Unroutable",
    "connect",
]
