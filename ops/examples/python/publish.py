"""Publishes catalogue events to Freshet: one item, or its removal.

    python publish.py upsert sofa-1 https://shop.example/sofa.jpg "Green sofa"
    python publish.py delete sofa-1
"""

import argparse

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "freshet.catalog"

parser = argparse.ArgumentParser()
parser.add_argument("--brokers", default="127.0.0.1:9092")
parser.add_argument("--registry", default="http://127.0.0.1:8081/apis/ccompat/v7")
commands = parser.add_subparsers(dest="command", required=True)
upsert = commands.add_parser("upsert")
upsert.add_argument("item_id")
upsert.add_argument("image")
upsert.add_argument("title", nargs="?", default="")
delete = commands.add_parser("delete")
delete.add_argument("item_id")
arguments = parser.parse_args()

producer = Producer(
    {
        "bootstrap.servers": arguments.brokers,
        # The partition of an item is part of the contract. librdkafka's own choice is another one.
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
    }
)


def upserted(item_id: str, image: str, title: str) -> bytes:
    """An event carries the full state of the item; what is left out has its default."""
    registry = SchemaRegistryClient({"url": arguments.registry})
    serialize = AvroSerializer(
        registry,
        # Freshet registers the schemas; producers take the newest.
        conf={
            "auto.register.schemas": False,
            "use.latest.version": True,
            "subject.name.strategy": topic_subject_name_strategy,
        },
    )
    event = {
        "itemId": item_id,
        "images": [image],
        "title": title,
        "category": "sofas",
        "price": 799.0,
        "currency": "EUR",
        "regions": ["de"],
        "attributes": {"colour": "green"},
    }
    # The schema is a union of events: the name says which one this is.
    return serialize(("freshet.ItemUpserted", event), SerializationContext(TOPIC, MessageField.VALUE))


def delivered(error, message) -> None:
    if error is not None:
        raise SystemExit(f"not delivered: {error}")
    print(f"partition {message.partition()} offset {message.offset()}")


is_upsert = arguments.command == "upsert"
value = upserted(arguments.item_id, arguments.image, arguments.title) if is_upsert else None
# The key is the item id as plain UTF-8. No value: the item is gone.
producer.produce(TOPIC, key=arguments.item_id.encode(), value=value, on_delivery=delivered)
if producer.flush(30) > 0:
    raise SystemExit("not delivered within 30 s")
