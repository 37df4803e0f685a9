"""Deletes an item with librdkafka's own partitioner, the mistake the README warns of."""

import argparse

from confluent_kafka import Producer

parser = argparse.ArgumentParser()
parser.add_argument("--brokers")
parser.add_argument("--registry")
parser.add_argument("item_id")
arguments = parser.parse_args()

producer = Producer({"bootstrap.servers": arguments.brokers})
producer.produce("freshet.catalog", key=arguments.item_id.encode(), value=None)
if producer.flush(30) > 0:
    raise SystemExit("not delivered within 30 s")
