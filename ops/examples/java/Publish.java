import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publishes catalogue events to Freshet: one item, or its removal. The producer has its defaults; where
 * {@code KafkaAvroSerializer} is at hand, it does what {@link #frame} does.
 *
 * <pre>
 * java -cp 'lib/*' Publish.java BROKERS REGISTRY upsert sofa-1 https://shop.example/sofa.jpg "Green sofa"
 * java -cp 'lib/*' Publish.java BROKERS REGISTRY delete sofa-1
 * </pre>
 */
public final class Publish {
    private static final String TOPIC = "freshet.catalog";

    public static void main(String[] args) throws Exception {
        String brokers = args[0];
        String registry = args[1];
        String itemId = args[3];
        // No value: the item is gone.
        byte[] value = args[2].equals("upsert") ? upserted(registry, itemId, args[4], args[5]) : null;

        Properties properties = new Properties();
        properties.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        // The key is the item id as plain UTF-8.
        properties.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        properties.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        try (Producer<String, byte[]> producer = new KafkaProducer<>(properties)) {
            RecordMetadata delivered = producer.send(new ProducerRecord<>(TOPIC, itemId, value)).get();
            System.out.println("partition " + delivered.partition() + " offset " + delivered.offset());
        }
    }

    /** An event carries the full state of the item; what is left out has its default. */
    private static byte[] upserted(String registry, String itemId, String image, String title) throws Exception {
        // Freshet registers the schemas; producers take the newest.
        URI latest = URI.create(registry + "/subjects/" + TOPIC + "-value/versions/latest");
        HttpRequest request = HttpRequest.newBuilder(latest).build();
        String answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body();
        JsonNode registered = new ObjectMapper().readTree(answer);

        // The schema is a union of events.
        Schema events = new Schema.Parser().parse(registered.get("schema").asText());
        Schema upserted = events.getTypes().get(events.getIndexNamed("freshet.ItemUpserted"));
        GenericRecord event = new GenericRecordBuilder(upserted)
                .set("itemId", itemId)
                .set("images", List.of(image))
                .set("title", title)
                .set("category", "sofas")
                .set("price", 799.0)
                .set("currency", "EUR")
                .set("regions", List.of("de"))
                .set("attributes", Map.of("colour", "green"))
                .build();
        return frame(registered.get("id").asInt(), events, event);
    }

    /** A zero byte, the id of the schema, and the record. */
    private static byte[] frame(int schemaId, Schema schema, GenericRecord event) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.write(0);
        bytes.write(ByteBuffer.allocate(4).putInt(schemaId).array());
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
        new GenericDatumWriter<GenericRecord>(schema).write(event, encoder);
        encoder.flush();
        return bytes.toByteArray();
    }
}
