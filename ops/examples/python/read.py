"""Prints the records of one of Freshet's topics as JSON lines, to its end as it is now.

    python read.py freshet.mutations.g1
    python read.py freshet.dead-letters
"""

import argparse
import json

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

parser = argparse.ArgumentParser()
parser.add_argument("topic")
parser.add_argument("--brokers", default="127.0.0.1:9092")
parser.add_argument("--registry", default="http://127.0.0.1:8081/apis/ccompat/v7")
arguments = parser.parse_args()

consumer = Consumer(
    {
        "bootstrap.servers": arguments.brokers,
        # Nothing is committed: the group is a name only.
        "group.id": "freshet-example",
        "enable.auto.commit": False,
    }
)
# The id in each value names its schema. Without return_record_name a record does not tell its type.
deserialize = AvroDeserializer(
    SchemaRegistryClient({"url": arguments.registry}), conf={}, return_record_name=True
)

ends = {}
for partition in consumer.list_topics(arguments.topic, timeout=10).topics[arguments.topic].partitions:
    low, high = consumer.get_watermark_offsets(TopicPartition(arguments.topic, partition), timeout=10)
    if high > low:
        ends[partition] = high
consumer.assign([TopicPartition(arguments.topic, partition, 0) for partition in ends])

while ends:
    message = consumer.poll(10)
    if message is None:
        raise SystemExit("nothing came within 10 s")
    if message.error():
        raise SystemExit(str(message.error()))
    key, value = message.key(), message.value()
    record = None if value is None else deserialize(value, SerializationContext(arguments.topic, MessageField.VALUE))
    line = {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": None if key is None else key.decode(errors="replace"),
        # Bytes, such as vectors (little-endian IEEE 754 half precision), as hex digits.
        "value": record,
    }
    print(json.dumps(line, default=bytes.hex, ensure_ascii=False))
    if message.offset() + 1 >= ends[message.partition()]:
        del ends[message.partition()]
consumer.close()
