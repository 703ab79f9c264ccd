"""A worker of three rules, and its tests: tests/unit/examples/orders. Run it beside a broker:

penstock worker examples.orders.app --processes 2
penstock publish orders '{"id": "o-1", "amount": 5}'
penstock consume receipts --count 1
"""
